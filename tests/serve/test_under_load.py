"""A short run of the benchmark with many clients."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.serve.live import recording


def test_texts_under_load_equal_those_of_one_request_at_a_time(model_dir, tmp_path):
    """The script fails if a text differs, a request fails, or the server's log has a traceback."""
    for seed, lang in enumerate(("de", "es", "ja")):
        folder = tmp_path / "dump" / "raw" / f"test_{lang}"
        folder.mkdir(parents=True)
        (folder / "a.wav").write_bytes(recording(1.7, seed=seed))
        (folder / "wav.scp").write_text(f"{lang}-1 {folder / 'a.wav'}\n")
        (folder / "utt2lang").write_text(f"{lang}-1 {lang}\n")
    page = tmp_path / "RESULTS.md"
    few = ["--requests", "9", "--clients", "3", "--longest_s", "6", "--soak", "20", "--seed", "2"]
    paths = ["--recipe", str(tmp_path), "--model", str(model_dir), "--results", str(page)]
    command = [sys.executable, ROOT / "benchmarks" / "serve_load.py", *paths, *few]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    text = page.read_text("utf-8")
    assert "3 clients, 9 requests in 3 languages, 2 to 6 s" in text and "Over 20 further requests" in text
    assert text.count("| shared batches") == 2 and "| the same beside cancelling clients" in text
