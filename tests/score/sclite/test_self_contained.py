"""The sclite package can be used outside the project; it needs the standard library, numpy and `zipperasr.cli`."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import zipperasr.score.sclite.__main__
print(*sorted(name for name in sys.modules if name.startswith("zipperasr")))
"""


def test_it_imports_only_the_option_parser_from_the_project(root):
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, check=True, text=True)
    others = [name for name in done.stdout.split() if not name.startswith("zipperasr.score.sclite")]
    assert others == ["zipperasr", "zipperasr.cli", "zipperasr.score"]
