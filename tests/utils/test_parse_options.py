"""utils/parse_options.sh sets variables of a script and rejects unknown options."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = """#!/usr/bin/env bash
# Print the options.
#
# Usage: say.sh [options] WORD ...
set -euo pipefail
stage=0        # first stage
stop_stage=9   # last stage
dry_run=false  # plan only
train_args=    # settings
declare -A option_alias=([settings]=train_args) option_hint=([nbpe]='the LLM has a tokenizer')
hidden_after=x
. {options}
below=1
echo "$stage|$stop_stage|$dry_run|$train_args|$*"
"""


@pytest.fixture
def say(tmp_path: Path, root: Path):
    """Run the script with the given arguments."""
    script = tmp_path / "say.sh"
    script.write_text(SCRIPT.format(options=root / "utils" / "parse_options.sh"), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["bash", script, *arguments], capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "0|9|false||"),
        (["--stage", "3", "--stop-stage", "4"], "3|4|false||"),
        (["--stop_stage", "4"], "0|4|false||"),
        (["--stop-stage=4", "--dry_run=true"], "0|4|true||"),
        (["--train-args", "--set lr=1 epochs=2"], "0|9|false|--set lr=1 epochs=2|"),
        (["--train_args", "a b; touch harm $(touch harm)"], "0|9|false|a b; touch harm $(touch harm)|"),
        (["--train_args", ""], "0|9|false||"),
        (["--settings", "lr=1"], "0|9|false|lr=1|"),
        (["--settings=lr=1"], "0|9|false|lr=1|"),
        (["--stage", "1", "word", "--stage"], "1|9|false||word --stage"),
        (["--stage", "1", "--", "--word"], "1|9|false||--word"),
    ],
)
def test_options_become_variables(say, tmp_path, arguments, wanted):
    done = say(*arguments)
    assert (done.returncode, done.stdout) == (0, wanted + "\n")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stag", "3"], "unknown option --stag; say.sh --help lists the options"),
        (["--stop-stages", "3"], "unknown option --stop_stages; "),
        (["--below", "3"], "unknown option --below"),
        (["--nbpe", "500"], "there is no --nbpe: the LLM has a tokenizer; say.sh --help lists the options"),
        (["--a[$(touch harm)]", "3"], "unknown option"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--dry-run", "true"], "--stage needs a value"),
        (["--stage", "three"], "--stage: got 'three', wanted an integer"),
        (["--stage", ""], "--stage: got '', wanted an integer"),
        (["--dry_run", "maybe"], "--dry_run: got 'maybe', wanted true or false"),
    ],
)
def test_wrong_options_exit_with_2_and_one_line(say, tmp_path, arguments, message):
    done = say(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "harm").exists()


def test_help_prints_the_header_and_every_option_with_its_default(say):
    done = say("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Print the options.\n\nUsage: say.sh")
    assert "--stop_stage         last stage [9]\n" in done.stdout
    assert "--train_args         settings\n" in done.stdout
    assert "below" not in done.stdout
