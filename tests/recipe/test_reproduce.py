"""The paper's matrix: the systems, their order, and the calls of run.sh."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from local import reproduce
from local.systems import SYSTEMS, Cell
from zipperasr.lora import VARIANTS

EVERYTHING = reproduce.Plan(seeds=(1, 2))


def test_every_system_is_trained_once_and_after_the_soft_system_it_starts_from():
    matrix = reproduce.cells_of(EVERYTHING)
    order = [cell for cells in reproduce.rounds(matrix) for cell in cells]
    controls = sum(system.control for system in SYSTEMS.values())
    assert len(order) == len(set(order)) == (len(SYSTEMS) - controls) * 2 * 2 * 2 + controls
    finished = set()
    for cells in reproduce.rounds(matrix):
        for cell in cells:
            soft = Cell("zipper_soft", cell.regime, cell.setting, cell.seed)
            assert not SYSTEMS[cell.system].after_soft or soft in finished
        finished.update(cells)
    assert set(VARIANTS) < set(SYSTEMS)


def test_controls_have_a_number_of_seeds_of_their_own():
    plan = reproduce.Plan(systems=("vanilla", "twice"), regimes=("full",), seeds=(4, 5, 6), control_seeds=2)
    cells = reproduce.cells_of(plan)
    assert [cell.seed for cell in cells if cell.system == "twice"] == [4, 5]
    assert {cell.seed for cell in cells if cell.system == "vanilla"} == {4, 5, 6}


def test_a_system_that_lora_alone_describes_has_no_other_tag():
    for system in ("vanilla", "no_encoder_lora"):
        command = Cell(system, "full", "1h", 3).command(epochs=2, exp="exp")
        assert command[command.index("--tag") + 1] == "_seed3"
    assert command[command.index("--lora") + 1] == "none"
    assert Cell("no_encoder_lora", "full", "30h", 3).directory("exp") == "exp/sft_none_full_30h_seed3"


def test_initial_b_starts_from_the_soft_run_of_its_regime_setting_and_seed():
    command = Cell("initial_b_router", "full", "30h", 3).command(epochs=2, exp="exp")
    assert command[command.index("--initial_b") + 1] == "exp/sft_zipper_soft_full_30h_seed3"
    assert command[command.index("--initial_parts") + 1] == "b router"
    assert command[command.index("--tag") + 1] == "_initial_b_router_seed3"


def test_settings_of_all_systems_precede_those_of_one():
    twice = Cell("twice", "full", "1h", 3).command(epochs=2, exp="exp", settings=["epochs=2", "lr=1e-3"])
    assert twice[twice.index("--train_args") + 1] == "epochs=2 lr=1e-3 epochs=4"
    assert "--train_args" not in Cell("vanilla", "full", "1h", 3).command(epochs=2, exp="exp")


@pytest.mark.parametrize("system", ["initial_b_router", "dense", "no_encoder_lora"])
def test_run_sh_accepts_the_calls(recipe: Path, tmp_path: Path, system):
    command = Cell(system, "full", "30h", 3).command(epochs=2, exp=str(tmp_path / "exp"))
    command[command.index("--stop-stage") + 1] = "6"
    places = ["--dumpdir", tmp_path, "--expdir", tmp_path / "exp"]
    done = subprocess.run([*command, *places], cwd=recipe, stdout=PIPE, stderr=STDOUT, text=True)
    assert done.returncode == 1
    assert re.search(r"run stage [0-5]\b", done.stdout), done.stdout  # the options are valid; the alignment is missing


def test_unknown_system_names_the_nearest(recipe: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    assert reproduce.main(["--systems", "initial_c"]) == 1
    assert "unknown system 'initial_c'; did you mean 'initial_b'" in capsys.readouterr().err


def test_options_that_differ_between_systems_are_rejected(recipe: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    assert reproduce.main(["--systems", "dense", "--", "--train-args", "lr=1"]) == 1
    assert "--train-args: differs between systems; to set it for all use --sft_args" in capsys.readouterr().err


@pytest.fixture
def calls(tmp_path: Path, monkeypatch):
    """Reproduce with a stand-in for run.sh that fails for flylora; returns the exit status and the calls."""
    (tmp_path / "conf" / "mini").mkdir(parents=True)
    (tmp_path / "conf" / "mini" / "sft.yaml").write_text("epochs: 1\n", encoding="utf-8")
    run = tmp_path / "run.sh"
    run.write_text('#!/bin/sh\necho "$*" >>calls\ncase "$*" in *flylora*) exit 3 ;; esac\n', encoding="utf-8")
    run.chmod(0o755)
    monkeypatch.chdir(tmp_path)

    def reproduced(*systems: str, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
        (tmp_path / "calls").unlink(missing_ok=True)
        few = ["--regimes", "full", "--settings", "1h", "--seeds", "1"]
        status = reproduce.main(["--systems", *systems, *few, *options, "--", "--nj", "1"])
        return status, (tmp_path / "calls").read_text(encoding="utf-8").splitlines()

    return reproduced


def test_a_failing_system_is_named_and_the_others_are_trained(calls, capsys):
    status, called = calls("flylora", "vanilla")
    assert status == 1
    assert "1 systems failed: flylora_full_1h_seed1; see exp/logs/matrix" in capsys.readouterr().err
    assert [("flylora" in call, "vanilla" in call) for call in called].count((False, True)) == 1
    assert called[-1].startswith("--stage 9") and all(call.endswith("--scale mini --nj 1") for call in called)


def test_alignments_are_decoded_on_the_sets_of_the_adaptation_too(calls):
    _, called = calls("vanilla")
    aligned = next(call for call in called if "--alignment_only true" in call)
    assert aligned.startswith("--stage 5 --stop-stage 8") and "--alignment_sets all" in aligned


def load(tmp_path: Path, *directories: str) -> tuple[str, str]:
    """An archive with the results of these trainings, as options."""
    with tarfile.open(tmp_path / "cells.tar.xz", "w:xz") as tar:
        for directory in directories:
            for name in ("run.json", "decode_greedy_full/test_x_de/text"):
                tar.addfile(tarfile.TarInfo(f"{directory}/{name}"), io.BytesIO())
    return "--load", str(tmp_path / "cells.tar.xz")


def stages(called: list[str], word: str) -> list[str]:
    """The first stage of each call with this word."""
    return [call.split()[1] for call in called if word in call]


def test_loaded_trainings_are_scored_but_not_trained(calls, tmp_path):
    status, called = calls("vanilla", options=load(tmp_path, "align_full", "sft_vanilla_full_seed1"))
    assert status == 0
    assert stages(called, "--alignment_only") == ["8"] and stages(called, "--lora vanilla") == ["8"]
    assert all("--adaptation_only true" in call for call in called if "--lora vanilla" in call)
    assert (tmp_path / "exp/sft_vanilla_full_seed1/decode_greedy_full/test_x_de/text").is_file()


def test_an_alignment_is_trained_again_for_a_system_that_was_not_loaded(calls, tmp_path, capsys):
    _, called = calls("vanilla", "independent", options=load(tmp_path, "align_full", "sft_vanilla_full_seed1"))
    assert stages(called, "--alignment_only") == ["5"]
    assert stages(called, "--lora vanilla") == ["8"] and stages(called, "--lora independent") == ["6"]
    assert "exp/align_full: loaded without weights; training it again" in capsys.readouterr().err


@pytest.mark.parametrize("systems", [("zipper_soft", "initial_b"), ("initial_b",)])
def test_a_loaded_soft_run_is_trained_again_for_initial_b(calls, tmp_path, capsys, systems):
    _, called = calls(*systems, options=load(tmp_path, "align_full", "sft_zipper_soft_full_seed1"))
    line = "exp/sft_zipper_soft_full_seed1: loaded without weights; training it again for initial_b_full_1h_seed1"
    assert line in capsys.readouterr().err
    assert [call.split()[1] for call in called if "--lora zipper_soft" in call] == ["6", "6"]
    assert "--initial_b exp/sft_zipper_soft_full_seed1" in called[-2]


def test_loaded_initial_b_is_scored_without_its_soft_run(calls, tmp_path):
    loaded = load(tmp_path, "align_full", "sft_zipper_soft_full_initial_b_seed1")
    status, called = calls("initial_b", options=loaded)
    assert status == 0 and stages(called, "--lora zipper_soft") == ["8"]
    assert not any("--initial_b" in call for call in called)


def test_loaded_systems_alone_are_reported_if_asked_for(calls, tmp_path):
    options = (*load(tmp_path, "sft_vanilla_full_seed1"), "--loaded_only", "true")
    status, called = calls("vanilla", "independent", options=options)
    assert status == 0 and not any("--alignment_only" in call for call in called)
    assert [call.split()[1] for call in called] == ["0", "8", "9"]
    status, called = calls("vanilla", options=("--loaded_only", "true", "--load", str(tmp_path / "cells.tar.xz")))
    assert [call.split()[1] for call in called] == ["0", "8", "9"]


def test_loaded_only_without_anything_loaded_is_one_line(tmp_path, calls, capsys):
    (tmp_path / "calls").touch()
    assert reproduce.main(["--systems", "vanilla", "--loaded_only", "true"]) == 1
    assert "exp: no system that was chosen is loaded; give an archive with --load" in capsys.readouterr().err
