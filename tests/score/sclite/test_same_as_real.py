"""Outputs equal NIST's sclite byte for byte on generated files: 45 pairs of 50 utterances, alternating options."""

from __future__ import annotations

import pytest

from tests.score.sclite.generated import write_files
from tests.score.sclite.real import needs_sclite, run_ours, run_real

pytestmark = needs_sclite

FILES = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
# -c and -D are not combined, because the real sclite may split optional words in alternations endlessly.
OPTIONS = [
    ["-i", "rm", "-o", "all", "dtl", "stdout"],
    ["-i", "rm", "-o", "all", "dtl", "spk", "snt", "-F"],
    ["-i", "swb", "-o", "all", "stdout", "-s", "-D", "-l", "80"],
    ["-i", "rm", "-o", "all", "snt", "stdout", "-c", "-F"],
    ["-i", "spu_id", "-o", "all", "dtl", "stdout", "-c", "-e", "utf-8", "-l", "200"],
    ["-i", "wsj", "-o", "all", "spk", "stdout", "-c", "NOASCII", "DH", "-e", "utf-8", "-F"],
    ["-i", "sp", "-o", "sum", "dtl", "pralign", "stdout", "-F", "-D", "-f", "1"],
    ["-i", "rm"],
    ["-i", "rm", "-o", "all", "sum", "-O", "out", "-n", "NAME", "-e", "utf-8", "generic"],
    ["-i", "rm", "-o", "rsum", "all", "pra", "-s", "-c", "DH"],
    ["-i", "rm", "-o", "none"],
]
TITLES = [[], ["My é title"], ["x" * 90], ["a//longer title"]]


@pytest.mark.parametrize("seed", range(45))
def test_output_equals_the_real_sclites_byte_for_byte(seed, tmp_path, monkeypatch):
    files = tmp_path / "files"
    write_files(files, seed, num_utterances=50)
    (files / "out").mkdir()
    argv = [*FILES, *TITLES[seed % len(TITLES)], *OPTIONS[seed % len(OPTIONS)]]
    assert run_ours(argv, files, monkeypatch) == run_real(argv, files)


def test_several_hypotheses_are_reported_one_after_the_other(tmp_path, monkeypatch):
    files = tmp_path / "files"
    write_files(files, 1, num_utterances=10)
    (files / "other.trn").write_bytes((files / "ref.trn").read_bytes())
    for options in (["-o", "all"], ["-o", "sum", "stdout"], ["-o", "all", "-n", "same"]):
        argv = [*FILES, "first", "-h", "other.trn", "-h", "./hyp.trn", "trn", "third", "-i", "rm", *options]
        assert run_ours(argv, files, monkeypatch) == run_real(argv, files)
        for copy in ("ours", "real"):
            files.with_name(f"files.{copy}").rename(files.with_name(f"{copy}{len(options)}{options[-1]}"))


def test_invalid_utf8_is_accepted_without_e(tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    (files / "ref.trn").write_bytes(b"\xc9t\xe9 \xff\xfe b (s\xe9-1)\n")
    (files / "hyp.trn").write_bytes(b"\xe9t\xe9 \xff b (S\xe9-1)\n")
    argv = [*FILES, "-i", "rm", "-o", "all", "dtl", "stdout", "-c"]
    assert run_ours(argv, files, monkeypatch) == run_real(argv, files)


@pytest.mark.parametrize("scale", [1, 100, 10000])
def test_columns_widen_as_in_the_real_sclite(scale, tmp_path, monkeypatch):
    """Rates above 1000 %, accuracies below -1000 % and 10,000 sentences."""
    files = tmp_path / "files"
    files.mkdir()
    references = [f"a b (s{number % 3}-{number})\n" for number in range(scale)]
    many = " x" * (30 if scale == 1 else 1)
    hypotheses = [f"a{many} (s{number % 3}-{number})\n" for number in range(scale)]
    (files / "ref.trn").write_text("".join(references))
    (files / "hyp.trn").write_text("".join(hypotheses))
    argv = [*FILES, "-i", "rm", "-o", "all", "dtl", "spk", "stdout"]
    assert run_ours(argv, files, monkeypatch) == run_real(argv, files)
