"""ModelConfig refuses what no model can be built from."""

from __future__ import annotations

import pytest

from zipperasr.config import load_yaml
from zipperasr.model.model_config import ModelConfig


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("encoder_lora: {rank: 0}", "encoder_lora: rank: got 0, wanted at least 1"),
        ("llm_lora: {rank: -4}", "llm_lora: rank: got -4, wanted at least 1"),
        ("llm_lora: {alpha: .nan}", "llm_lora: alpha: got nan, wanted a finite number above 0"),
        ("encoder_lora: {alpha: .inf}", "encoder_lora: alpha: got inf, wanted a finite number above 0"),
        ("encoder_lora: {tau: 1.5}", "encoder_lora: tau: got 1.5, wanted 0 to 1"),
        ("encoder_lora: {fly_top_k: 64}", r"fly_top_k: got 64, wanted 1 to 32 \(the rank\)"),
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
