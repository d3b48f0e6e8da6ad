"""What a step prints when it fails."""

from __future__ import annotations

import argparse

from zipperasr.cli import log, run_step


def fail_with(message: str):
    def step(options: argparse.Namespace) -> None:
        raise ValueError(message)

    return step


def test_an_error_has_500_characters_at_most_and_keeps_its_remedy(capsys):
    assert run_step(fail_with("got " + "x" * 10**6 + "; rerun stage 3"), argparse.Namespace(), "step") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 500
    assert line.startswith("step: error: got xxx")
    assert line.endswith("; rerun stage 3")


def test_control_characters_of_names_are_printed_escaped(capsys):
    run_step(fail_with("id 'a\x1b[2Jb\u202e' is unknown"), argparse.Namespace(), "step")
    log("set a\x1b]0;title\x07")
    error, line = capsys.readouterr().err.splitlines()
    assert error == r"step: error: id 'a\x1b[2Jb\u202e' is unknown"
    assert line.endswith(r"set a\x1b]0;title\x07")
