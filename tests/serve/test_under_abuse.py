"""A short run of the benchmark with hostile requests."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.conftest import ROOT


def test_honest_requests_are_answered_among_hostile_ones(model_dir, tmp_path):
    """Takes 20 s. The script fails if an honest request gets no response, or if a response or the log is wrong."""
    page = tmp_path / "RESULTS.md"
    few = ["--requests", "100", "--honest", "0.3", "--rate", "20", "--results", str(page)]
    command = [sys.executable, ROOT / "benchmarks" / "serve_abuse.py", "--bundle", str(model_dir), *few]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    text = page.read_text("utf-8")
    assert "30 honest requests" in text and "70 hostile ones" in text
    # 1.1 at most with 2,000 requests; with so few, the first use of each decoder matters. Unbounded decoding gave 3.7.
    assert float(re.search(r"Resident memory is (\d\.\d+) times", text)[1]) < 1.6
    counts = [int(number) for number in re.findall(r"× (\d+)", text)]
    assert sum(counts) == 70
