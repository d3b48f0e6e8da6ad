"""The lint rules against executing data: each unsafe call is rejected in the package, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

ruff = pytest.importorskip("ruff", reason="ruff is not installed")

UNSAFE = {
    "import pickle\n\npickle.load(open('x', 'rb'))\n": "S301",
    "eval(input())\n": "S307",
    "exec(input())\n": "S102",
    "import yaml\n\nyaml.load(input(), yaml.Loader)\n": "S506",
    "import subprocess\n\nsubprocess.run(input(), shell=True)\n": "S602",
    "import os\n\nos.system(input())\n": "S605",
    "import torch\n\ntorch.load('x')\n": "TID251",
    "import kaldiio\n\nkaldiio.load_ark('x')\n": "TID251",
    "from kaldiio import load_scp\n\nload_scp('x')\n": "TID251",
    "import kaldiio.matio\n\nkaldiio.matio.read_kaldi(None)\n": "TID251",
    "import numpy as np\n\nnp.load('x', allow_pickle=True)\n": "TID251",
}


@pytest.mark.parametrize(("code", "rule"), UNSAFE.items(), ids=lambda text: text.splitlines()[-1])
def test_an_unsafe_call_fails_the_lint(root, code, rule):
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--stdin-filename"]
    done = subprocess.run(
        [*command, "zipperasr/unsafe.py", "-"], input=code, capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 1 and f" {rule} " in done.stdout, done.stdout + done.stderr
