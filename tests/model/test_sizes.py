"""Configurations with larger sizes than the weights are rejected before they cost memory or time."""

from __future__ import annotations

import json
import resource
import time

import pytest
import torch
from transformers import WhisperModel

from tests.model import tiny
from tests.model.test_backbone_files import edit, own  # noqa: F401
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones import ENCODERS, LLMS, find_encoder, find_llm, load_tokenizer
from zipperasr.model.backbones.whisper import WHISPER_SIZES
from zipperasr.model.build import build_empty_model, build_model
from zipperasr.model.sizes import check_backbone_size

CPU_SECONDS, KILOBYTES = 60, 300_000


@pytest.fixture
def bounded():
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < CPU_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES


@pytest.mark.parametrize("value", [10**6, 10**9, 10**400, -1, 1.5, "6", True, [1]])
@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("whisper", "encoder_layers"),
        ("whisper", "num_hidden_layers"),  # transformers' other name
        ("whisper", "decoder_layers"),
        ("llm", "num_hidden_layers"),
    ],
)
def test_the_number_of_layers_is_limited(own, bounded, part, key, value):  # noqa: F811
    edit(own / part / "config.json", **{key: value})
    ours = "encoder_layers" if part == "whisper" and key == "num_hidden_layers" else key
    for build in (build_model, build_empty_model):
        with pytest.raises(
            ValueError, match=rf"{part}/config.json: {ours}: got .*, wanted a whole number from 0 to 1,000"
        ):
            build(tiny.model_config(own))


@pytest.mark.parametrize("value", [10**6, 10**7])
@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("whisper", "d_model"),
        ("whisper", "hidden_size"),
        ("whisper", "encoder_ffn_dim"),
        ("whisper", "decoder_ffn_dim"),
        ("whisper", "vocab_size"),
        ("whisper", "num_mel_bins"),
        ("whisper", "max_source_positions"),
        ("whisper", "max_target_positions"),
        ("llm", "hidden_size"),
        ("llm", "intermediate_size"),
        ("llm", "vocab_size"),
        ("llm", "head_dim"),
        ("llm", "num_attention_heads"),
        ("llm", "num_key_value_heads"),
    ],
)
def test_sizes_larger_than_the_weights_are_rejected(own, bounded, part, key, value):  # noqa: F811
    edit(own / part / "config.json", **{key: value})
    for build in (build_model, build_empty_model):
        with pytest.raises(
            ValueError,
            match=rf"{part}/config.json: its sizes imply [\d,]+ parameters, but the weights contain [\d,]+",
        ):
            build(tiny.model_config(own))


@pytest.mark.parametrize("value", [0, 10**9, 10**400, -3, "x", 2.0, {}])
@pytest.mark.parametrize(("part", "key"), [("whisper", "d_model"), ("llm", "hidden_size"), ("llm", "vocab_size")])
def test_invalid_sizes_are_named(own, bounded, part, key, value):  # noqa: F811
    edit(own / part / "config.json", **{key: value})
    with pytest.raises(
        ValueError, match=rf"{part}/config.json: {key}: got .*, wanted a whole number from 1 to 10,000,000"
    ):
        (find_llm if part == "llm" else find_encoder)(str(own / part))


def test_pickled_weights_are_counted_by_file_size(own):  # noqa: F811
    weights = own / "llm/model.safetensors"
    torch.save({"x": torch.ones(3)}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    edit(own / "llm/config.json", vocab_size=10**6)
    with pytest.raises(ValueError, match=r"llm/config.json: its sizes imply .* parameters, but the weights contain"):
        build_model(tiny.model_config(own))


def test_published_shapes_are_accepted_with_and_without_weights(own, recipe, tmp_path):  # noqa: F811
    architectures = recipe / "conf/full/architectures"
    assert find_encoder(str(architectures / "whisper-large-v3"))[1]["encoder_layers"] == 32
    assert find_llm(str(architectures / "Qwen3-1.7B"))[1]["hidden_size"] == 2048
    shapes = {"whisper-large-v3": ("whisper", 1_543_000_000), "Qwen3-1.7B": ("qwen3", 1_720_000_000)}
    for name, (model_type, parameters) in shapes.items():
        config = json.loads((architectures / name / "config.json").read_text())
        (tmp_path / name).mkdir()
        with (tmp_path / name / "pytorch_model.bin").open("wb") as weights:
            weights.truncate(parameters * 2)  # a sparse file, which takes no disk space
        check_backbone_size(config, tmp_path / name / "config.json", (ENCODERS | LLMS)[model_type].size_rules)


@pytest.mark.parametrize(
    "content", ["[]", "[" * 100_000, '{"a":' * 100_000, "3", '{"model": 3}', "", '{"added_tokens": 3}']
)
@pytest.mark.parametrize("part", ["whisper", "llm"])
def test_an_invalid_tokenizer_is_reported_in_one_line(own, bounded, part, content):  # noqa: F811
    (own / part / "tokenizer.json").write_text(content)
    with pytest.raises((ValueError, OSError)) as caught:
        if part == "llm":
            load_tokenizer(str(own / "llm"))
        else:
            language_token_ids(str(own / "whisper"), LanguageTable.load(tiny.TABLE_PATH))
    assert str(own / part) in str(caught.value) or "okenizer" in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"a":' * 100_000, "3", '{"eos_token_id": {}}'])
def test_an_invalid_generation_config_is_reported_in_one_line_or_not_read(own, bounded, content):  # noqa: F811
    (own / "llm/generation_config.json").write_text(content)
    try:
        build_model(tiny.model_config(own))
    except ValueError as error:
        assert "llm" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_attention_heads": 3},
        {"activation_function": "evil"},
        {"pad_token_id": 10**6},
        {"dropout": "x"},
        {"dtype": "evil"},
        {"id2label": 3},
    ],
)
def test_impossible_settings_are_reported_in_one_line(own, bounded, changes):  # noqa: F811
    edit(own / "whisper/config.json", **changes)
    with pytest.raises((ValueError, OSError)):
        load_backbone(WhisperModel, str(own / "whisper"), torch.float32, WHISPER_SIZES)


def test_the_number_of_languages_is_limited(bounded, tmp_path):
    header, line = "code\twhisper_token\tname\tunit\tnormaliser\tprompt\n", "\ten\tx\twer\tbasic\tp\n"
    (tmp_path / "languages.tsv").write_text(header + "".join(f"l{number}{line}" for number in range(100_000)))
    with pytest.raises(ValueError, match=r"languages.tsv:2002: more than 2,000 languages; keep those to be trained"):
        LanguageTable.load(tmp_path / "languages.tsv")


def test_a_missing_head_width_is_transformers_default_not_a_share_of_the_width(own, bounded):  # noqa: F811
    """Else, many heads of width zero would hide the size of the projections."""
    path = own / "llm" / "config.json"
    edit(path, num_attention_heads=10**7)
    config = json.loads(path.read_text())
    del config["head_dim"]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="its sizes imply"):
        find_llm(str(own / "llm"))
