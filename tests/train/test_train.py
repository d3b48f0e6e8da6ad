"""Errors of stages 5 and 6 on the command line, and trainings that are up to date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.train.tiny_recipe import options
from tests.train.warm import ENVIRONMENT, WarmTraining
from tests.train.worker import free_port
from zipperasr.atomic import mark_current
from zipperasr.stages.train import main
from zipperasr.train.resume import set_aside


@pytest.fixture
def train(tiny_recipe, tmp_path, capsys):
    """Run a phase with changed options. Returns the exit status and the error line."""

    def run(phase: str, *more: str, **paths: str) -> tuple[int, str]:
        usual = {"config": f"conf/{phase}.yaml", "manifest": "dump/manifest", "lid": "exp/lid", **paths}
        status = main(["--phase", phase, "--out", str(tmp_path / "out"), *options(tiny_recipe, **usual), *more])
        assert not (tmp_path / "out").exists(), "nothing may be written"
        return status, capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.fixture
def sft(one_process):
    return ["--init", str(one_process / "align"), "--lora", "zipper_soft"]


def test_missing_manifests_name_the_stages_to_run(train):
    status, line = train("align", manifest="dump/none")
    assert status == 1
    assert "dump/none/sets.tsv: no such file; run stage 1 first" in line


def test_sft_needs_a_variant_and_an_alignment(train, sft):
    for more in ((), sft[:2], sft[2:]):
        status, line = train("sft", *more)
        assert status == 1
        assert "--phase sft needs --lora VARIANT and --init DIRECTORY of the alignment (stage 5)" in line


def test_an_unfinished_alignment_names_the_stage(train, sft, tmp_path):
    status, line = train("sft", "--init", str(tmp_path / "none"), *sft[2:])
    assert status == 1
    assert "no finished training here; run stage 5 (align) or 6 (sft)" in line


def test_unknown_variant_suggests_the_nearest(train, sft):
    status, line = train("sft", *sft[:2], "--lora", "zipper_sof")
    assert status == 1
    assert "unknown lora 'zipper_sof'; did you mean 'zipper_soft'?" in line


def test_missing_embeddings_name_the_stage(train, sft):
    status, line = train("sft", *sft, lid="exp/none")
    assert status == 1
    assert "no LID embeddings; run stage 4" in line


def test_unknown_setting_suggests_the_nearest(train):
    status, line = train("align", "--set", "weight_deca=0")
    assert status == 1
    assert "unknown key 'weight_deca'; did you mean 'weight_decay'?" in line


def test_compiling_without_a_compiler_is_refused(train, monkeypatch):
    monkeypatch.setenv("CXX", "g++-99")
    status, line = train("align", "--set", "compile=true")
    assert status == 1
    assert "compile: torch.compile needs a C++ compiler, and g++-99 is missing; set compile=false" in line


def test_a_finished_training_is_not_run_again(one_process, tiny_recipe, sft, capsys):
    written = (one_process / "sft" / "model.safetensors").stat().st_mtime_ns
    paths = options(tiny_recipe, config="conf/sft.yaml", manifest="dump/manifest", lid="exp/lid")
    again = ["--phase", "sft", "--out", str(one_process / "sft"), *paths, *sft, "--set", "packs_per_batch=2"]
    assert main(again) == 0
    assert "is up to date" in capsys.readouterr().err
    assert (one_process / "sft" / "model.safetensors").stat().st_mtime_ns == written


def test_a_truncated_weights_file_is_reported_and_retrained(one_process, tiny_recipe, tmp_path):
    out = tmp_path / "align"
    shutil.copytree(one_process / "align", out)
    whole = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(whole[:1000])
    paths = options(tiny_recipe, config="conf/align.yaml", manifest="dump/manifest")
    again = ["--phase", "align", "--out", str(out), *paths, "--set", "packs_per_batch=2"]
    log = tmp_path / "log"
    assert WarmTraining(again, log).wait() == 0, log.read_text()[-2000:]
    message = f"{out}/model.safetensors has 1,000 bytes instead of {len(whole):,}; writing {out} again"
    assert message in log.read_text()
    assert (out / "model.safetensors").read_bytes() == whole


def test_a_second_training_in_the_same_directory_is_refused(train, tmp_path, held_elsewhere):
    message = held_elsewhere(tmp_path / "out")
    status, line = train("align")
    assert status == 1
    assert message in line


def test_a_second_training_of_two_ranks_is_refused_without_a_traceback(tiny_recipe, tmp_path, root, held_elsewhere):
    message = held_elsewhere(tmp_path / "out")
    paths = options(tiny_recipe, config="conf/align.yaml", manifest="dump/manifest")
    launch = [
        "zipperasr.train.torchrun",
        "--nproc_per_node",
        "2",
        "--master_port",
        free_port(),
        "-m",
        "zipperasr.stages.train",
    ]
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, "-m", *launch, "--phase", "align", "--out", str(tmp_path / "out"), *paths]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_training_from_other_inputs_is_kept_when_its_directory_is_trained_again(one_process, tiny_recipe, tmp_path):
    out = tmp_path / "align"
    shutil.copytree(one_process / "align", out)
    weights = (out / "model.safetensors").read_bytes()
    paths = options(tiny_recipe, config="conf/align.yaml", manifest="dump/manifest")
    again = ["--phase", "align", "--out", str(out), *paths, "--set", "packs_per_batch=2", "lr=1e-4"]
    log, kept = tmp_path / "log", tmp_path / ".replaced/align.1"
    assert WarmTraining(again, log).wait() == 0, log.read_text()[-2000:]
    assert f"{out}: inputs changed (train); training again. The earlier training is now {kept}" in log.read_text()
    assert (kept / "model.safetensors").read_bytes() == weights
    assert (out / "model.safetensors").read_bytes() != weights


def test_an_interrupted_training_from_other_inputs_is_kept_too(tmp_path, capsys):
    out = tmp_path / "sft"
    for number in (1, 2):
        (out / f"checkpoints/step-{number}0").mkdir(parents=True)
        mark_current(out / "checkpoints", {"train": str(number), "languages": "same"})
        set_aside(out, {"train": "3", "languages": "same"})
        assert not out.exists()
        kept = tmp_path / f".replaced/sft.{number}"
        assert (kept / f"checkpoints/step-{number}0").is_dir()
        assert (
            f"{out}: inputs changed (train); training again. The earlier training is now {kept}"
            in capsys.readouterr().err
        )


def test_a_directory_without_weights_or_checkpoints_is_removed(tmp_path, capsys):
    out = tmp_path / "sft"
    (out / "checkpoints").mkdir(parents=True)
    (out / "train.jsonl").touch()
    set_aside(out, {"train": "1"})
    assert not out.exists() and not (tmp_path / ".replaced").exists()
    assert capsys.readouterr().err == ""
