"""benchmarks/on_gpu.sh at a tiny size on the CPU: every section, with and without optional packages."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# not dependencies of torch, transformers and peft, the only packages that the script requires
OTHERS = ("espnet", "espnet2", "deepspeed", "kaldiio", "jiwer", "pyarrow", "pytest", "_pytest", "whisper_normalizer")
OTHERS += ("soundfile", "soxr", "sentencepiece", "tensorboard", "matplotlib", "scipy", "sklearn", "lhotse", "py3langid")
WITHOUT_OTHERS = f"""
from importlib.machinery import PathFinder

find = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {OTHERS!r} else find(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)
"""


def on_gpu(root: Path, page: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess:
    """Run the script on the CPU; `python3` is the Python that runs the tests."""
    folder = page.parent / "bin"
    folder.mkdir(exist_ok=True)
    python3 = folder / "python3"
    if not python3.exists():
        python3.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        python3.chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{folder}:{os.environ['PATH']}", **changed}
    # --minutes 60: the tiny size measures one round anyway, and no section is stopped on a busy machine
    options = ["--device", "cpu", "--size", "tiny", "--minutes", "60", "--results", page]
    command = [root / "benchmarks" / "on_gpu.sh", *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_sections_run_with_only_torch_transformers_and_peft(root, tmp_path):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(WITHOUT_OTHERS, encoding="utf-8")
    python3 = tmp_path / "bin" / "python3"
    python3.parent.mkdir()
    python3.write_text(  # the script overwrites PYTHONPATH, which would disable the blocker
        f'#!/bin/sh\nPYTHONPATH="{tmp_path}/blocked:$PYTHONPATH" exec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    python3.chmod(0o755)
    probe = subprocess.run([python3, "-c", "import pyarrow"], capture_output=True, text=True)
    assert "No module named 'pyarrow'" in probe.stderr  # the blocker works

    page = tmp_path / "RESULTS.md"
    done = on_gpu(root, page)
    assert done.returncode == 0, done.stderr
    for section, package in (("deepspeed", "deepspeed"), ("resume", "deepspeed"), ("tests", "pytest")):
        assert f"== {section}: skipped because {package} is not installed" in done.stderr
    for section in ("lora", "train", "decode"):
        assert f"== {section}: uses torch, transformers and peft" in done.stderr
    text = page.read_text(encoding="utf-8")
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## LoRA layer, cpu, bfloat16",
        "## LoRA layer, cpu, float32",
        "## Configured training step, tiny, cpu, bfloat16",
        "## Training step, tiny, sft, cpu, bfloat16",
        "## Decoding without peers, tiny, cpu, bfloat16",
        "## Decoding, tiny, cpu, bfloat16",
    ]
    rows = {line.split(" | ")[0]: line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")}
    for regime in ("chunked", "full"):
        assert all(float(cell.strip(" %").replace(",", "")) > 0 for cell in rows[f"| {regime}"][1:])
    for part in ("encoder LoRA", "router", "projector", "LLM LoRA"):
        assert float(rows[f"| gradient norm, {part}"][-1].split()[1]) > 0.99
    assert float(rows["| loss per label"][-1].split()[0]) < 1e-3
    assert text.count("| ours, batch size 64 | ") == 3
    assert "deepspeed 0." in text or "deepspeed not installed" in text


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="no deepspeed")
def test_a_resumed_step_equals_the_uninterrupted_one_under_zero(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    done = on_gpu(root, page, "deepspeed", "resume")
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "## ZeRO-2 step, tiny, cpu, bfloat16\n" in text
    assert "\n| chunked | 1 | " in text
    assert "\n| loss of the next step, relative difference | equal |" in text
    assert "\n| weights after it, difference relative to the update | equal |" in text


def test_a_section_that_exceeds_its_time_is_stopped_and_reported(root, tmp_path):
    """With --minutes 1 the section `tests` has 5 s; a stand-in that sleeps is stopped after twice that time."""
    python3 = tmp_path / "bin" / "python3"
    python3.parent.mkdir()
    python3.write_text(
        f'#!/bin/sh\ncase $1 in */gpu_tests.py) exec sleep 60 ;; esac\nexec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    python3.chmod(0o755)
    done = on_gpu(root, tmp_path / "RESULTS.md", "--minutes", "1", "tests")
    assert done.returncode == 1
    assert "skipped for lack of time: benchmarks/gpu_tests.py: stopped after 10 s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lora", "speed"], "unknown section 'speed', choose from lora train deepspeed resume decode tests"),
        (["--size", "huge"], "--size: got 'huge', wanted paper or tiny"),
        (["--minutes", "0"], "--minutes: got '0', wanted at least 1"),
    ],
)
def test_wrong_options_are_reported_in_one_line(root, tmp_path, arguments, message):
    done = on_gpu(root, tmp_path / "RESULTS.md", *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"on_gpu.sh: error: {message}; on_gpu.sh --help lists the options"]


def test_without_a_gpu_the_error_says_how_to_try_the_script(root, tmp_path):
    done = on_gpu(root, tmp_path / "RESULTS.md", "--device", "cuda", "lora", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "on_gpu.sh: error: no CUDA device; use --device cpu --size tiny to try the script without one" in done.stderr
    assert not (tmp_path / "RESULTS.md").exists()
