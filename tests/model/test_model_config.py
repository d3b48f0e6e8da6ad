"""ModelConfig rejects invalid values."""

from __future__ import annotations

import pytest
import yaml

from zipperasr.config import load_yaml, to_tree
from zipperasr.lora.base import Options
from zipperasr.lora.flylora import FlyLoraOptions
from zipperasr.lora.router import RouterOptions
from zipperasr.lora.zipper_hard import ZipperHardOptions
from zipperasr.model.model_config import EncoderLoraConfig, ModelConfig


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("encoder_lora: {rank: 0}", "encoder_lora: rank: got 0, wanted at least 1"),
        ("llm_lora: {rank: -4}", "llm_lora: rank: got -4, wanted at least 1"),
        ("llm_lora: {alpha: .nan}", "llm_lora: alpha: got nan, wanted a finite number above 0"),
        ("encoder_lora: {alpha: .inf}", "encoder_lora: alpha: got inf, wanted a finite number above 0"),
        ("encoder_lora: {zipper_hard: {tau: 1.5}}", "zipper_hard: tau: got 1.5, wanted 0 to 1"),
        ("encoder_lora: {zipper_hard: {tau: x}}", "zipper_hard: tau: got 'x', wanted a number"),
        ("encoder_lora: {zipper_hard: {tua: 0.5}}", "zipper_hard: unknown key 'tua'; did you mean 'tau'"),
        ("encoder_lora: {zipper_hard: 0.5}", "zipper_hard: got 0.5, wanted keys of ZipperHardOptions"),
        ("encoder_lora: {zipper_heart: {tau: 0.5}}", "unknown key 'zipper_heart'; did you mean 'zipper_hard'"),
        ("encoder_lora: {vanilla: {tau: 0.5}}", "unknown key 'vanilla'; choose from"),
        ("encoder_lora: {flylora: {top_k: 64}}", r"flylora: top_k: got 64, wanted 1 to 32 \(the rank\)"),
        ("encoder_lora: {rank: 8, flylora: {top_k: 9}}", r"flylora: top_k: got 9, wanted 1 to 8 \(the rank\)"),
        ("encoder_lora: {tau: 1.5}", "zipper_hard: tau: got 1.5, wanted 0 to 1"),
        ("encoder_lora: {fly_top_k: 64}", r"flylora: top_k: got 64, wanted 1 to 32 \(the rank\)"),
        (
            "encoder_lora: {fly_top_k: 4, flylora: {top_k: 8}}",
            "fly_top_k is the old name of flylora.top_k; remove fly_top_k",
        ),
        ("max_positions: 0", "max_positions: got 0, wanted at least 1"),
        ("mel_bins: 0", "mel_bins: got 0, wanted at least 1"),
        ("projector_dim: 0", "projector_dim: got 0, wanted at least 1"),
        ("decode_chunk_s: .inf", "decode_chunk_s: got inf, wanted a number above 0, at most 30"),
        ("decode_chunk_s: .nan", "decode_chunk_s: got nan, wanted a number above 0, at most 30"),
        ("train_chunk_s: [1.0, 60.0]", "train_chunk_s: got 60.0, wanted a number above 0, at most 30"),
        ("train_chunk_s: []", "train_chunk_s: got an empty list"),
        ("lid_window_s: -1", "lid_window_s: got -1.0, wanted at least 0"),
    ],
)
def test_a_wrong_value_is_an_error(tmp_path, setting, message):
    path = tmp_path / "model.yaml"
    path.write_text(f"whisper: w\nllm: l\n{setting}\n")
    with pytest.raises(ValueError, match=rf"model\.yaml: (encoder_lora: )?{message}"):
        load_yaml(ModelConfig, path)


def load(path, text: str) -> ModelConfig:
    path.write_text(f"whisper: w\nllm: l\n{text}\n")
    return load_yaml(ModelConfig, path)


def test_a_variants_options_are_nested_under_its_name(tmp_path):
    text = "encoder_lora: {rank: 16, zipper_hard: {tau: 0.4, p_selects_shared: false}, flylora: {top_k: 6}}"
    lora = load(tmp_path / "model.yaml", text).encoder_lora
    assert (lora.rank, lora.alpha) == (16, 64.0)
    assert lora.of("zipper_hard") == ZipperHardOptions(tau=0.4, p_selects_shared=False)
    assert lora.of("flylora") == FlyLoraOptions(top_k=6)
    assert lora.of("zipper_soft") == RouterOptions() and lora.of("vanilla") == Options()


def test_options_as_written_by_earlier_releases_are_read(tmp_path):
    text = "encoder_lora: {rank: 16, alpha: 32, tau: 0.4, p_selects_shared: false, router_affine: true, fly_top_k: 6}"
    lora = load(tmp_path / "model.yaml", text).encoder_lora
    assert lora.of("zipper_hard") == ZipperHardOptions(router_affine=True, tau=0.4, p_selects_shared=False)
    assert lora.of("zipper_soft") == RouterOptions(router_affine=True)
    assert lora.of("flylora") == FlyLoraOptions(top_k=6)
    off = load(tmp_path / "model.yaml", "encoder_lora: {rank: 16, fly_top_k: null}").encoder_lora
    assert off.of("flylora") == FlyLoraOptions(top_k=None)


def test_a_configuration_round_trips(tmp_path):
    options = {"zipper_hard": ZipperHardOptions(router_affine=True, tau=0.25), "flylora": FlyLoraOptions(3)}
    config = ModelConfig("w", "l", encoder_lora=EncoderLoraConfig(8, 16.0, options), train_chunk_s=(1.0,))
    tree = to_tree(config)
    assert tree["encoder_lora"]["zipper_hard"] == {"router_affine": True, "tau": 0.25, "p_selects_shared": True}
    assert tree["encoder_lora"]["flylora"] == {"top_k": 3} and tree["encoder_lora"]["rank"] == 8
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert load_yaml(ModelConfig, path) == config
