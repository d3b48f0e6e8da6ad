"""`engine: vllm` writes the texts of our greedy search. vLLM has its own environment, .venv-vllm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.decode.model_and_sets import SIZES, write_model_and_sets
from tests.model import tiny
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.stages.decode import main

GREEDY = ["--set", "retry_loops=false"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> Path:
    """The tiny backbones, but for an LLM with heads of 32, of which vLLM has kernels."""
    directory = tmp_path_factory.mktemp("backbones")
    tiny.write_backbones(directory)
    tokenizer = tiny.llm_tokenizer()
    torch.manual_seed(5)
    llm = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, head_dim=32,
            num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id, max_position_embeddings=512,
        )
    )  # fmt: skip
    tiny.shake_vectors(llm)
    llm.save_pretrained(directory / "llm")
    return directory


@pytest.fixture
def options(backbones, tmp_path) -> list[str]:
    base = write_model_and_sets(tmp_path, backbones)
    paths = {"exp": base / "align", "manifest": base, "config": base / "decode.yaml", "languages": tiny.TABLE_PATH}
    return [word for option, path in paths.items() for word in (f"--{option}", str(path))]


@pytest.fixture
def decode_with_vllm(options, root):
    """Run stage 7 in vLLM's environment, with further settings."""
    if not (root / ".venv-vllm" / "vllm.txt").is_file():
        pytest.skip("no .venv-vllm; run tools/install_vllm.sh (minutes, 4 GB)")

    def run(*settings: str) -> None:
        command = [root / ".venv-vllm" / "bin" / "python", "-m", "zipperasr.stages.decode", *options]
        environment = {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_KVCACHE_SPACE": "1"}
        done = subprocess.run(
            [*command, "--inference_tag", "vllm", *GREEDY, "engine=vllm", *settings],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.mark.parametrize("parallel", [1, 2])
def test_texts_equal_those_of_our_search(options, decode_with_vllm, tmp_path, parallel):
    """Two models, as in stage 7, which decodes with the alignment and the adaptation."""
    shutil.copytree(tmp_path / "align", tmp_path / "again")
    options.insert(options.index("--exp") + 1, str(tmp_path / "again"))
    assert main([*options, *GREEDY]) == 0
    decode_with_vllm(f"tensor_parallel={parallel}")
    for model in ("align", "again"):
        for code, count in SIZES.items():
            own, vllm = (
                (tmp_path / model / name / f"test_x_{code}" / "text").read_text().splitlines()
                for name in ("decode_greedy_chunked", "decode_greedy_chunked_vllm")
            )
            assert len(own) == count and own == vllm


def test_bfloat16_decodes_every_utterance(decode_with_vllm, tmp_path):
    """The precision of full scale. Rounding differs from ours, so that random weights may give other texts."""
    decode_with_vllm("precision=bf16")
    for code, count in SIZES.items():
        decoding = tmp_path / "align" / "decode_greedy_chunked_vllm" / f"test_x_{code}"
        lines = (decoding / "text").read_text().splitlines()
        assert len(lines) == count and any(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_without_vllm_the_error_says_how_to_install_it(options, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert main([*options, *GREEDY, "engine=vllm"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "engine: vllm: import of vllm halted" in line
    assert "tools/install_vllm.sh, then run VENV=.venv-vllm ./run.sh --stage 7" in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "vlm"}, "engine: unknown value 'vlm'; did you mean 'vllm'"),
        ({"engine": "vllm", "beam": 4}, "engine: vllm is for greedy search; set beam=1"),
        ({"tensor_parallel": 2}, "tensor_parallel: got 2, wanted 1, or engine=vllm"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**settings)
