"""Malformed or unsupported input ends in one line with location and remedy, exit status 1 and no output file."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.score.sclite.__main__ import main
from zipperasr.score.sclite.options import ABSENT_FORMATS, ABSENT_OPTIONS, ABSENT_REPORTS

REF, HYP = b"a b (s-1)\nc (s-2)\n", b"a (s-1)\nc (s-2)\n"
FILES = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]


@pytest.fixture
def fails(tmp_path, monkeypatch, capsys):
    def run(ref: bytes = REF, hyp: bytes = HYP, argv: list[str] | None = None) -> str:
        (tmp_path / "ref.trn").write_bytes(ref)
        (tmp_path / "hyp.trn").write_bytes(hyp)
        monkeypatch.chdir(tmp_path)
        assert main([*FILES, "-i", "rm", "-o", "all"] if argv is None else argv) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hyp.trn", "ref.trn"]
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sclite: error: ")
        return line.removeprefix("sclite: error: ")

    return run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a b\n", "no id in brackets at the end of 'a b'; wanted: words (speaker-utterance)"),
        (b"a (b\n", "no id in brackets at the end of 'a (b'"),
        (b"a s-9)\n", "no id in brackets at the end of 'a s-9)'"),
        (b"a ()\n", "the id in brackets is empty; wanted: words (speaker-utterance)"),
        (b"a (s-9) b\n", "got '(s-9) b' for the id; wanted one pair of brackets, and nothing after it"),
        (b"a ((s-9))\n", "got '(s-9))' for the id; wanted one pair of brackets"),
        (b"a (s-9)\r\n", "got a DOS line end (CR LF), wanted LF; convert the file, for example with dos2unix"),
        (b"a\0b (s-9)\n", "got a zero byte, wanted text; is this a trn file?"),
        (b"{ a / b (s-9)\n", "no closing brace for '{ a / b '; write alternations as { a / b }"),
        (b"a / b } (s-9)\n", "a brace within the word '}'; write alternations as { a / b }"),
        (b"a{b / c} (s-9)\n", "a brace within the word 'a{b'; write alternations as { a / b }"),
        (b"{ a / { / } } (s-9)\n", "an alternation without words; write @ for nothing, as in { a / @ }"),
        (b"a (s-9)", "the last line has no newline; add one (sclite ignores such an utterance)"),
    ],
)
def test_a_malformed_line_is_reported(line, message, fails):
    assert fails(ref=REF + b";; comment\n" + line).startswith(f"ref.trn:4: {message}")
    assert fails(hyp=HYP + b"\n" + line).startswith(f"hyp.trn:4: {message}")


def test_a_byte_order_mark_is_an_error(fails):
    message = "1: got a byte order mark before the first word; remove the file's first 3 bytes"
    assert fails(ref=b"\xef\xbb\xbf" + REF) == f"ref.trn:{message}"
    assert fails(hyp=b"\xef\xbb\xbf" + HYP) == f"hyp.trn:{message}"


def test_invalid_utf8_is_an_error(fails):
    argv = [*FILES, "-i", "rm", "-o", "all", "-e", "utf-8"]
    wanted = "hyp.trn:3: not UTF-8 at byte 3; convert the file, or leave out -e utf-8"
    assert fails(hyp=HYP + b"a \xe9 (s-9)\n", argv=argv) == wanted


def test_a_duplicate_id_is_an_error(fails):
    message = "id '(s-1)' is listed twice; keep one line per utterance (without -s, ids are not case-sensitive)"
    assert fails(ref=REF + b"a b (S-1)\n") == f"ref.trn:3: {message}"
    assert fails(hyp=HYP + b"a (S-1)\n") == f"hyp.trn:3: {message}"


def test_a_hypothesis_without_reference_is_an_error(fails):
    assert fails(hyp=HYP + b"x (s-9)\n") == (
        "hyp.trn:3: no reference for id '(s-9)' in ref.trn; add it there or remove this line"
    )
    argv = [*FILES, "-i", "rm", "-o", "all", "-s"]
    assert fails(hyp=HYP.upper(), argv=argv).startswith("hyp.trn:1: no reference for id '(S-1)'")


def test_an_id_without_speaker_is_an_error(fails):
    wanted = "hyp.trn:1: no speaker in id '(s1)'; wanted (speaker-utterance) or (speaker_utterance), or -i wsj or sp"
    assert fails(ref=b"a (s1)\n", hyp=b"a (s1)\n") == wanted


def test_an_empty_file_is_an_error(fails):
    assert fails(hyp=b";; nothing\n") == "hyp.trn: no utterance; wanted lines of the form: words (speaker-utterance)"


def test_a_missing_file_is_an_error(fails):
    assert "No such file or directory: 'none.trn'" in fails(argv=["-r", "none.trn", "-h", "hyp.trn", "-i", "rm"])
    assert "No such file or directory: 'none.trn'" in fails(argv=["-r", "ref.trn", "-h", "none.trn", "-i", "rm"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        *(([option], option) for option in ABSENT_OPTIONS),
        *((["-o", report], f"-o {report}") for report in ABSENT_REPORTS),
        (["-f", "2"], "-f 2"),
        (["-e", "gb"], "-e gb"),
        (["-e", "utf-8", "babel_turkish"], "-e utf-8 babel_turkish"),
    ],
)
def test_options_of_the_real_sclite_that_are_not_supported(argv, message, fails):
    assert fails(argv=[*FILES, "-i", "rm", *argv]) == (
        f"{message} is not supported here; use NIST's sclite (tools/install_sctk.sh)"
    )


@pytest.mark.parametrize("form", ABSENT_FORMATS)
def test_formats_of_the_real_sclite_that_are_not_supported(form, fails):
    message = f"the format {form} is not supported here; use NIST's sclite (tools/install_sctk.sh)"
    assert fails(argv=["-r", "ref.trn", form, "-h", "hyp.trn", "-i", "rm"]) == f"-r: {message}"
    assert fails(argv=["-r", "ref.trn", "-h", "hyp.trn", form, "-i", "rm"]) == f"-h: {message}"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "wanted a reference and a hypothesis; pass -r ref.trn trn -h hyp.trn trn"),
        (["-r", "ref.trn", "-i", "rm"], "wanted a reference and a hypothesis"),
        (FILES, "no type of utterance ids; pass -i with one of rm, wsj, swb, spu_id, sp"),
        ([*FILES, "-i", "sub"], "-i: unknown type 'sub'; did you mean 'swb'? choose from rm, wsj, swb, spu_id, sp"),
        ([*FILES, "-i", "rm", "-l", "9"], "-l: got 9, wanted at least 10"),
        ([*FILES, "-i", "rm", "-c", "ASCII"], "-c: unknown value 'ASCII'; did you mean 'NOASCII'?"),
        ([*FILES, "-i", "rm", "-o", "prallign"], "-o: unknown report 'prallign'; did you mean 'pralign'?"),
        (
            ["-r", "ref.trn", "text", "-h", "hyp.trn", "-i", "rm"],
            "-r: unknown format 'text', wanted trn; a title comes",
        ),
        (
            ["-r", "ref.trn", "trn", "x", "-h", "hyp.trn", "-i", "rm"],
            "-r: got 3 values, 'ref.trn trn x', wanted at most 2",
        ),
        ([*FILES, "my", "title", "-i", "rm"], "-h: got 4 values, 'hyp.trn trn my title', wanted at most 3"),
    ],
)
def test_wrong_options_are_errors(argv, message, fails):
    assert fails(argv=argv).startswith(message)


@pytest.mark.parametrize("report", ["spk", "snt"])
def test_a_speaker_that_cannot_be_part_of_a_file_name_is_an_error(report, fails):
    """The real sclite prints to stdout instead."""
    line = b"a (s/t-1)\n"
    wanted = f"-o {report}: speaker 's/t' cannot be part of a file name because of its slash; add -o stdout"
    assert fails(ref=line, hyp=line, argv=[*FILES, "-i", "rm", "-o", report]) == wanted


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path, monkeypatch, capsys):
    """The real sclite prints to stdout instead."""
    for name, content in (("ref.trn", REF), ("hyp.trn", HYP), ("file", b"")):
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main([*FILES, "-i", "rm", "-o", "all", "-O", "file"]) == 1
    assert "sclite: error: [Errno 17] File exists: 'file'" in capsys.readouterr().err


def test_help_lists_every_supported_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in ("-r", "-h", "-i", "-e", "-s", "-c", "-F", "-D", "-o", "-O", "-n", "-l", "-f"):
        assert f"\n  {option} " in text or f"\n  {option}  " in text


def test_no_large_packages_are_imported():
    import subprocess
    import sys

    code = "import sys, zipperasr.score.sclite.__main__; print({'torch', 'scipy', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "set()\n"
