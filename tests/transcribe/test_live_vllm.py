"""With `engine: vllm`, recordings that arrive at any time get the texts of our own search."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.decode.test_vllm import backbones
from tests.transcribe.conftest import SHORT, write_trained
from tests.transcribe.live_in_vllm import found, raw_tokens, streamed
from tests.transcribe.sound import noise
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.__main__ import main

__all__ = ["backbones"]

LANGUAGES = ("de", "es", "ja")
LOOPING = dataclasses.replace(SHORT, tokens_per_s=20.0)  # long enough for loops, which are decoded again


@pytest.fixture(scope="module")
def trained_for_vllm(backbones, tmp_path_factory):
    return write_trained(backbones, tmp_path_factory.mktemp("exp"))


@pytest.fixture(scope="module")
def recordings() -> dict[str, np.ndarray]:
    return {f"{n}_{LANGUAGES[n % 3]}": noise(0.5 + 0.6 * n, n) for n in range(10)}


@pytest.fixture(scope="module")
def own(trained_for_vllm) -> Transcriber:
    return Transcriber.from_pretrained(trained_for_vllm, "cpu", LOOPING)


@pytest.fixture(scope="module")
def in_vllm(root, trained_for_vllm, recordings, tmp_path_factory) -> dict:
    """What tests/transcribe/live_in_vllm.py prints."""
    if not (root / ".venv-vllm" / "vllm.txt").is_file():
        pytest.skip("no .venv-vllm; run tools/install_vllm.sh (minutes, 4 GB)")
    saved = tmp_path_factory.mktemp("audio") / "recordings.npz"
    np.savez(saved, **recordings)
    settings = json.dumps(dataclasses.asdict(dataclasses.replace(LOOPING, engine="vllm")))
    command = [root / ".venv-vllm/bin/python", "-m", "tests.transcribe.live_in_vllm", trained_for_vllm, settings, saved]
    environment = {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) | {"log": done.stderr}


def texts(segments: list) -> list[str]:
    return [text for text, *_ in segments]


def test_texts_and_probabilities_equal_those_of_our_search(in_vllm, own, recordings):
    alone = {name: found(own(samples, name.split("_")[1])) for name, samples in recordings.items()}
    for name, segments in in_vllm["together"].items():
        for (text, note, average, logprobs), expected in zip(segments, alone[name], strict=True):
            assert (text, note) == (expected[0], expected[1])
            assert average == pytest.approx(expected[2], abs=1e-3)
            assert logprobs == pytest.approx(expected[3], abs=1e-3)


def test_loops_are_decoded_again_without_repetition(in_vllm, own, recordings):
    expected = raw_tokens(own, recordings)
    assert in_vllm["raw"] == expected
    assert {size for size, _ in expected} > {0}


def test_a_dropped_request_is_aborted_at_the_next_step(in_vllm):
    dropped = in_vllm["dropped"]
    (first, *_) = in_vllm["together"].values()
    assert texts(dropped["other"]) == texts(first)
    assert max(dropped["unfinished"]) == 1 and dropped["left"] == 0


def test_a_failing_batch_leaves_the_engine_usable(in_vllm):
    assert in_vllm["failing"]["outcomes"][1] == "RuntimeError"
    assert in_vllm["failing"]["left"] == 0
    before, after = in_vllm["together"], in_vllm["again"]
    assert list(map(texts, after.values())) == list(map(texts, before.values()))
    assert "RuntimeError: out of memory" in in_vllm["log"]


def test_a_stream_has_the_same_texts(in_vllm, own, recordings):
    assert in_vllm["stream"] == streamed(own, max(recordings.values(), key=len))
    assert not in_vllm["hints"] and own.takes_hints


def test_without_vllm_the_error_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert main(["--model", str(tmp_path), "--engine", "vllm", "speech.wav"]) == 1
    assert "create its environment with tools/install_vllm.sh" in capsys.readouterr().err.splitlines()[-1]


def test_hints_are_refused(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("Zorblat\n")
    options = ["--model", str(tmp_path), "--engine", "vllm", "--hints", str(tmp_path / "names.txt"), "speech.wav"]
    assert main(options) == 1
    assert "hints need this project's own greedy search" in capsys.readouterr().err.splitlines()[-1]
