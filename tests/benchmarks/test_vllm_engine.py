"""benchmarks/vllm_engine.py at a tiny size, if .venv-vllm exists."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.decode.model_and_sets import SIZES, write_model_and_sets
from tests.decode.test_vllm import backbones
from tests.model import tiny

__all__ = ["backbones"]


@pytest.fixture
def vllm_engine(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    import vllm_engine

    return vllm_engine


def test_both_engines_decode_every_utterance(vllm_engine, backbones, root, tmp_path, monkeypatch):
    if not (root / ".venv-vllm" / "vllm.txt").is_file():
        pytest.skip("no .venv-vllm; run tools/install_vllm.sh (minutes, 4 GB)")
    base = write_model_and_sets(tmp_path, backbones)
    write_raw(base)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    page = tmp_path / "RESULTS.md"
    paths = {"recipe": base, "exp": base / "align", "config": base / "decode.yaml", "manifest": base}
    paths |= {"languages": tiny.TABLE_PATH, "results": page}
    options = [str(word) for name, path in paths.items() for word in (f"--{name}", path)]
    few = {"rounds": 1, "threads": 1, "clients": 2, "requests": 4, "longest_s": 3}
    assert vllm_engine.main([*options, *(f"--{name}={value}" for name, value in few.items())]) == 0
    count = sum(SIZES.values())
    text = page.read_text(encoding="utf-8")
    assert f"**{count} of {count} texts are the same.**" in text
    assert "**4 of 4 texts are the same.**" in text
    assert text.count("\n| own | ") == text.count("\n| vllm | ") == 2


def write_raw(base: Path) -> None:
    """What the server and its clients need: the model's languages, and a test set of stage 2."""
    tiny.table().save(base / "align" / "languages.tsv")
    raw = base / "dump" / "raw" / "test_x_de"
    raw.mkdir(parents=True)
    audio = sorted((base / "audio").glob("s-de*.wav"))
    (raw / "wav.scp").write_text("".join(f"{path.stem} {path}\n" for path in audio))
    (raw / "utt2lang").write_text("".join(f"{path.stem} de\n" for path in audio))


def test_without_the_environment_the_error_says_how_to_make_it(vllm_engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vllm_engine, "ENGINES", {"own": sys.executable, "vllm": tmp_path / "python"})
    assert vllm_engine.main([]) == 1
    assert f"{tmp_path / 'python'}: not found; run tools/install_vllm.sh" in capsys.readouterr().err
