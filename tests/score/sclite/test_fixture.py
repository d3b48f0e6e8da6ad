"""A small pair of files with the output of sclite 2.10 (Debian's sctk 2.4.10), for machines without sclite.

To regenerate the outputs, run `sclite $OPTIONS > NAME.txt` in fixture/ with the options below.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.score.sclite.real import needs_sclite, run_ours, run_real

FIXTURE = Path(__file__).parent / "fixture"
FILES = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
OPTIONS = {
    "plain": [*FILES, "-i", "rm", "-o", "all", "dtl", "stdout"],
    "marks": [*FILES, "A title", "-i", "rm", "-F", "-D", "-o", "snt", "spk", "all", "stdout", "-f", "1"],
    "folded": [*FILES, "-i", "sp", "-l", "40", "-o", "pralign", "stdout"],
    "characters": [*FILES, "-i", "swb", "-c", "NOASCII", "-e", "utf-8", "-o", "all", "dtl", "stdout"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_output_equals_the_stored_output_of_sclite(name, tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    for trn in ("ref.trn", "hyp.trn"):
        (files / trn).write_bytes((FIXTURE / trn).read_bytes())
    printed, written = run_ours(OPTIONS[name], files, monkeypatch)
    assert printed == (FIXTURE / f"{name}.txt").read_bytes()
    assert written == {}


@needs_sclite
@pytest.mark.parametrize("name", OPTIONS)
def test_the_stored_output_equals_that_of_the_real_sclite(name, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for trn in ("ref.trn", "hyp.trn"):
        (files / trn).write_bytes((FIXTURE / trn).read_bytes())
    assert run_real(OPTIONS[name], files) == ((FIXTURE / f"{name}.txt").read_bytes(), {})
