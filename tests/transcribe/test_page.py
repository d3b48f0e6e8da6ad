"""The blocks of docs/transcribe.md, as they stand there, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
import soundfile

from tests.transcribe.sound import RATE, noise


@pytest.fixture
def workplace(trained, tmp_path):
    """The names that the page uses, and a `zipperasr` on PATH."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "sft_zipper_soft_chunked").symlink_to(trained)
    for name in ("recordings", "dump", "bin"):
        (tmp_path / name).mkdir()
    soundfile.write(tmp_path / "speech.wav", noise(1.0), RATE)
    soundfile.write(tmp_path / "recordings" / "a.flac", noise(0.7), RATE)
    samples = (noise(0.5) * 32767).astype(np.int16)
    kaldiio.save_ark(
        str(tmp_path / "dump" / "x.ark"), {"utt1": (RATE, samples)}, scp=str(tmp_path / "dump" / "wav.scp")
    )
    command = tmp_path / "bin" / "zipperasr"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m zipperasr "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_every_block_runs(root, workplace):
    page = (root / "docs" / "transcribe.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["bash", "python", "python"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    script = "".join(code for language, code in blocks if language == "python")
    for command in (["bash", "-euo", "pipefail", "-c", blocks[0][1]], [sys.executable, "-c", script]):
        done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    written = {path.name: json.loads(path.read_text("utf-8")) for path in (workplace / "transcripts").iterdir()}
    assert set(written) == {"a.json", "utt1.json"}
    assert all(sum(transcript["lang_probs"].values()) == pytest.approx(1) for transcript in written.values())
