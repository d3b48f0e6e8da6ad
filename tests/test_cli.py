"""The output of a command if it fails, and for --help."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import pytest

from zipperasr.__main__ import COMMANDS
from zipperasr.cli import log, parser, run_step, str2bool

STAGES = sorted(path.stem for path in (Path(__file__).parents[1] / "zipperasr/stages").glob("[a-z]*.py"))


def fail_with(message: str):
    def step(options: argparse.Namespace) -> None:
        raise ValueError(message)

    return step


def test_an_error_has_at_most_500_characters_and_keeps_its_remedy(capsys):
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


def test_help_shows_only_informative_defaults():
    options = parser("Do something.", prog="do")
    options.add_argument("--required", required=True, default="r", help="a")
    options.add_argument("--none", help="b")
    options.add_argument("--text", default="", help="c")
    options.add_argument("--many", nargs="*", default=[], help="d")
    options.add_argument("--flag", action="store_true", help="e")
    options.add_argument("--path", type=Path, default=Path("/somewhere/else"), help="f")
    options.add_argument("--share", type=float, default=0.0, help="g")
    options.add_argument("--parts", nargs="+", default=["b", "router"], help="h")
    options.add_argument("--switch", type=str2bool, default=True, help="i")
    options.add_argument("--unit", default="100 %", help="j")
    text = " ".join(options.format_help().split())
    assert text.count("default") == 4
    for end in ("g (default: 0.0)", "h (default: b router)", "i (default: true)", "j (default: 100 %)"):
        assert end in text


@pytest.mark.parametrize(
    "module", [*(f"zipperasr.stages.{name}" for name in STAGES), *(module for module, _ in COMMANDS.values())]
)
def test_help_of_every_command_has_no_empty_defaults_and_no_local_paths(module, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(module).main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and text.startswith("usage: ")
    for wrong in ("(default: None)", "(default: [])", "(default: ())", "(default: )", str(Path(__file__).parents[1])):
        assert wrong not in text
