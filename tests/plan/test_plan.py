"""The command: all tables, one-line errors, no network access, no files written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.model.tiny import MEL_BINS, write_backbones
from zipperasr.plan.__main__ import main


@pytest.fixture
def conf(recipe: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of the recipe's conf/ in the working directory, without network access."""
    shutil.copytree(recipe / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments):
        raise AssertionError(f"a network connection was requested: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "conf"


def test_full_scale_prints_everything_and_writes_nothing(conf, capsys):
    start = time.process_time()
    assert main([]) == 0
    assert time.process_time() - start < 100  # seconds; minutes with real weights
    out = " ".join(capsys.readouterr().out.split())
    for wanted in (
        "encoder LoRA - - 176,947,200 176,947,200",
        "LLM 1,720,574,976 - 1,720,574,976 -",
        "Memory of one GPU of 4 (estimate)",
        "of 80 GiB: fits.",
        "13 languages in conf/languages.tsv, 11,796,480 parameters each; counted but not updated, for lack of",
        "Host memory of a machine with 4 training processes (upper estimate)",
        "hours on 4 A800 GPUs 7.5 11.2",
        "assumed: 4 A800 GPUs at 40 % of 312 TFLOP/s (dense bfloat16)",
        "share of all operations: recomputed 24 % 32 %",
        "hours of audio 12,000 7,329",
        "epochs in align.yaml and sft.yaml 1 / 3",
        "corpus msr86k en",
        "weights Qwen/Qwen3-1.7B",
        "34 of 34 items are missing. Nothing was downloaded.",
    ):
        assert wanted in out
    assert [path.name for path in conf.parent.iterdir()] == ["conf"]


def test_options_reach_every_table(conf, capsys):
    options = ["--lora", "zipper_hard", "--regime", "full", "--ngpu", "8", "--num_nodes", "2", "--setting", "30h"]
    assert main([*options, "--set", "zero_stage=1", "--decode_set", "beam=4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for wanted in (
        "zipper_hard, 13 languages",
        "Memory of one GPU of 16 (estimate)",
        "ZeRO-1, bf16, micro-batch of 10 packs of 2048 positions, full, with checkpointing",
        "packs per step 160 160",
        "hours of audio 12,000 7,422",  # three times 30 h and 6.51 h instead of 1 h each
        "beam in decode.yaml 4",
        "train/lite_30h/mls/train_mls_pt_ids.txt",
    ):
        assert wanted in out


@pytest.mark.parametrize(
    ("gpu", "memory", "hours"),
    [
        ("a800", "of 80 GiB", "hours on 4 A800 GPUs 7.5 11.2"),
        ("a100", "of 80 GiB", "hours on 4 A100 GPUs 7.5 11.2"),
        ("h100", "of 80 GiB", "hours on 4 H100 SXM GPUs 2.4 3.5"),
        ("h200", "of 141 GiB", "hours on 4 H200 GPUs 2.4 3.5"),
    ],
)
def test_hours_and_memory_depend_on_the_gpu(conf, capsys, gpu, memory, hours):
    assert main(["--gpu", gpu]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert hours in out and memory in out


def test_utilisation_does_not_count_recomputed_operations(conf, capsys):
    model_yaml = conf / "full" / "model.yaml"
    assert main(["--mfu", "0.5"]) == 0
    with_checkpointing = " ".join(capsys.readouterr().out.split())
    assert "hours on 4 A800 GPUs 6.0 9.0" in with_checkpointing
    assert "including recomputed operations, the utilisation is 66 % and 74 %" in with_checkpointing
    model_yaml.write_text(model_yaml.read_text().replace("checkpointing: true", "checkpointing: false"))
    assert main(["--mfu", "0.5"]) == 0
    without = " ".join(capsys.readouterr().out.split())
    assert "hours on 4 A800 GPUs 6.0 9.0" in without and "recomputed" not in without


def test_banks_of_untrained_languages_are_mentioned_only_if_there_are_any(conf, capsys):
    table = conf / "languages.tsv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if not line.startswith("zh\t")))
    datasets = conf / "datasets.tsv"
    rows = datasets.read_text().splitlines(True)
    datasets.write_text("".join(row for row in rows if "\tzh\t" not in row))
    assert main([]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "zipper_soft, 12 languages" in out and "encoder LoRA - - 165,150,720 165,150,720" in out
    assert "no adaptation data" not in out
    for lora in ("vanilla", "none"):
        assert main(["--lora", lora]) == 0
        out = capsys.readouterr().out
        assert f"{lora}, 12 languages" in out and "banks: one for each" not in out


def test_a_batch_that_is_too_large_comes_with_a_remedy(conf, capsys):
    assert main(["--set", "packs_per_batch=64"]) == 0
    assert "does not fit; set packs_per_batch=32 accumulation=2" in capsys.readouterr().out


def test_mini_scale_uses_the_local_backbones(conf, capsys):
    model_yaml = conf / "mini" / "model.yaml"
    model_yaml.write_text(model_yaml.read_text().replace("mel_bins: 80", f"mel_bins: {MEL_BINS}"))
    write_backbones(Path("exp/backbones"))
    assert main(["--scale", "mini"]) == 0
    out = capsys.readouterr().out
    assert "encoder exp/backbones/whisper" in out
    assert "Memory of one GPU of 1 (estimate)" in out
    assert "stage 3 logs the packs" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lora", "zippersoft"], "unknown lora 'zippersoft'; did you mean 'zipper_soft'?"),
        (["--set", "lrr=1"], "unknown key 'lrr'; did you mean 'lr'?"),
        (["--model", "conf/no.yaml"], "conf/no.yaml: no such configuration file"),
        (["--scale", "mini"], "exp/backbones/whisper: neither exp/backbones/whisper/config.json"),
    ],
)
def test_wrong_options_are_reported_in_one_line(conf, capsys, arguments, message):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_recipe_runs_it_without_a_gpu(recipe):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [recipe / "run.sh", "--scale", "full", "--dry_run", "true", "--ngpu", "2", "--gpu", "h200"]
    command += ["--train_args", "epochs=5"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    assert "Memory of one GPU of 2 (estimate)" in done.stdout
    assert "hours on 2 H200 GPUs" in done.stdout
    assert "epochs in align.yaml and sft.yaml 5 " in " ".join(done.stdout.split())
