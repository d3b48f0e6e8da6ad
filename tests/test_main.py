"""The `zipperasr` command lists its subcommands, calls them with their options, and imports no other."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from zipperasr.__main__ import COMMANDS, main


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_a_line_for_each_command(capsys, flag):
    assert main([flag]) == 0
    out = capsys.readouterr().out
    for name, (module, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", out, re.M)
        assert find_spec(module) is not None


def test_without_a_command_it_prints_the_usage(capsys):
    assert main([]) == 2
    assert "usage: zipperasr COMMAND" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["exprt", "--help"]) == 2
    assert (
        "unknown command 'exprt'; did you mean 'export'? choose from new, data, transcribe, evaluate, serve, export, "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_its_own_help(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: zipperasr {name}" in capsys.readouterr().out


def test_an_old_name_still_works_with_a_warning(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr()
    assert "usage: zipperasr serve" in said.out
    assert "warning: `zipperasr demo` is now `zipperasr serve`; the old name will be removed" in said.err


def test_a_command_s_status_is_returned(capsys, tmp_path):
    call = ["export", "--model", str(tmp_path), "--format", "peft", "--lang", "de", "--out", str(tmp_path / "x")]
    assert main(call) == 1
    assert "zipperasr export: error: " in capsys.readouterr().err


def test_help_imports_no_command(root):
    script = "import sys; from zipperasr.__main__ import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.endswith("False\n")


def test_it_is_installed_as_a_script(root):
    assert '"zipperasr = zipperasr.__main__:main"' in (root / "setup.py").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "zipperasr", "-h"], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and done.stdout.startswith("usage: zipperasr")
