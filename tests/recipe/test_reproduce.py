"""The paper's matrix: the systems, their order, and the calls of run.sh."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from local import reproduce
from zipperasr.lora import VARIANTS

EVERYTHING = reproduce.Plan(seeds=(1, 2))


def test_every_system_is_trained_once_and_after_the_soft_system_it_starts_from():
    order = [cell for cells in reproduce.rounds(EVERYTHING) for cell in cells]
    controls = sum(system.control for system in reproduce.SYSTEMS.values())
    assert len(order) == len(set(order)) == (len(reproduce.SYSTEMS) - controls) * 2 * 2 * 2 + controls * 2
    finished = set()
    for cells in reproduce.rounds(EVERYTHING):
        for cell in cells:
            soft = reproduce.Cell("zipper_soft", cell.regime, cell.setting, cell.seed)
            assert not reproduce.SYSTEMS[cell.system].after_soft or soft in finished
        finished.update(cells)
    assert set(VARIANTS) < set(reproduce.SYSTEMS)


def test_initial_b_starts_from_the_soft_run_of_its_regime_setting_and_seed():
    command = reproduce.Cell("initial_b_router", "full", "30h", 3).command(epochs=2, exp="exp")
    assert command[command.index("--initial_b") + 1] == "exp/sft_zipper_soft_full_30h_seed3"
    assert command[command.index("--initial_parts") + 1] == "b router"
    assert command[command.index("--tag") + 1] == "_initial_b_router_seed3"


def test_settings_of_all_systems_precede_those_of_one():
    twice = reproduce.Cell("twice", "full", "1h", 3).command(epochs=2, exp="exp", settings=["epochs=2", "lr=1e-3"])
    assert twice[twice.index("--train_args") + 1] == "epochs=2 lr=1e-3 epochs=4"
    assert "--train_args" not in reproduce.Cell("vanilla", "full", "1h", 3).command(epochs=2, exp="exp")


@pytest.mark.parametrize("system", ["initial_b_router", "dense"])
def test_run_sh_accepts_the_calls(recipe: Path, tmp_path: Path, system):
    command = reproduce.Cell(system, "full", "30h", 3).command(epochs=2, exp=str(tmp_path / "exp"))
    command[command.index("--stop-stage") + 1] = "6"
    done = subprocess.run([*command, "--dumpdir", tmp_path], cwd=recipe, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"run stage [0-5]\b", done.stderr), done.stderr  # the options are valid; the alignment is missing


def test_unknown_system_names_the_nearest(recipe: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    assert reproduce.main(["--systems", "initial_c"]) == 1
    assert "unknown system 'initial_c'; did you mean 'initial_b'" in capsys.readouterr().err


def test_options_that_differ_between_systems_are_rejected(recipe: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    assert reproduce.main(["--systems", "dense", "--", "--train-args", "lr=1"]) == 1
    assert "--train-args: differs between systems; to set it for all use --sft_args" in capsys.readouterr().err


def test_a_failing_system_is_named_and_the_others_are_trained(tmp_path: Path, monkeypatch, capsys):
    """run.sh is a stand-in that fails for one system."""
    (tmp_path / "conf" / "mini").mkdir(parents=True)
    (tmp_path / "conf" / "mini" / "sft.yaml").write_text("epochs: 1\n", encoding="utf-8")
    run = tmp_path / "run.sh"
    run.write_text('#!/bin/sh\necho "$*" >>calls\ncase "$*" in *flylora*) exit 3 ;; esac\n', encoding="utf-8")
    run.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    wanted = ["--systems", "flylora", "vanilla", "--regimes", "full", "--settings", "1h", "--seeds", "1"]
    assert reproduce.main([*wanted, "--", "--nj", "1"]) == 1
    assert "1 systems failed: flylora_full_1h_seed1; see exp/logs/matrix" in capsys.readouterr().err
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert [("flylora" in call, "vanilla" in call) for call in calls].count((False, True)) == 1
    assert calls[-1].startswith("--stage 9") and all(call.endswith("--scale mini --nj 1") for call in calls)
