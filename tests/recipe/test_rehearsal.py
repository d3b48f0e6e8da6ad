"""The rehearsal: conf/full through every stage, in bfloat16, with random backbones of the published widths.

Depth, data and languages are reduced further here; everything else is the configuration of `./run.sh --scale full`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zipperasr.config import read_tree
from zipperasr.model.experiment import Experiment
from zipperasr.score.scores_table import read_scores

# Settings in which conf/rehearsal may differ from conf/full. All others are rehearsed unchanged.
DIFFERENCES = {
    "model": {"whisper", "llm"},
    "align": {"packs_per_batch", "log_every"},
    "sft": {"packs_per_batch", "epochs", "log_every"},
    "decode": set(),
    "clips": set(),
    "corpora": {"roots", "utt_ids", "table_hours"},
}
SIZES = {"align_train": 3, "high_train": 3, "low_train_1h": 2, "low_train_30h": 2, "dev": 1, "test": 1}
LANGUAGES = {"en", "th", "zh", "de", "ru", "ar"}  # every corpus, high- and low-resource languages, words and characters
# for glibc: keep freed memory; half of the time went into returning it to the kernel
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
REGIME, LORA = "full", "flylora"  # local/rehearse.sh trains another variant, in the chunked regime


@pytest.mark.parametrize("name", DIFFERENCES)
def test_only_the_listed_settings_differ_from_full_scale(recipe: Path, name: str):
    full, rehearsal = (read_tree(recipe / "conf" / scale / f"{name}.yaml") for scale in ("full", "rehearsal"))
    differing = {key for key in full.keys() | rehearsal.keys() if full.get(key) != rehearsal.get(key)}
    assert differing == DIFFERENCES[name]


def test_rehearsal_has_every_file_of_full_scale(recipe: Path):
    names = {path.name for path in (recipe / "conf/full").glob("*.yaml")}
    assert {f"{name}.yaml" for name in DIFFERENCES} == names


@pytest.fixture(scope="module")
def rehearsed(root: Path, tmp_path_factory: pytest.TempPathFactory, whisper_files: Path, qwen3_files: Path) -> Path:
    """A recipe after the rehearsal with one variant.

    whisper_files and qwen3_files skip the tests if the published vocabularies are not installed.
    """
    directory = tmp_path_factory.mktemp("rehearsal")
    source = root / "egs2" / "zipper12" / "asr1"
    for name in ("asr.sh", "path.sh", "cmd.sh", "utils", "local", "run.sh"):
        (directory / name).symlink_to((source / name).resolve())
    subprocess.run(["cp", "-r", source / "conf", directory / "conf"], check=True)
    conf = directory / "conf" / "rehearsal"
    _keep_languages(directory / "conf" / "datasets.tsv")
    _edit(conf / "mini_corpora.yaml", **SIZES)
    _edit(conf / "random_backbones.yaml", depth=1)
    short = ["--eval_lang", "de ar", "--decode_args", "tokens_per_s=2 tokens_floor=2"]
    call(directory, "--stage", "0", "--stop-stage", "5", "--regime", REGIME)
    call(directory, "--stage", "6", "--stop-stage", "9", "--regime", REGIME, "--lora", LORA, *short)
    return directory


def call(directory: Path, *arguments: str, scale: str = "rehearsal") -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "asr.sh", "--scale", scale, "--nproc", "1", *arguments]
    environment = {**os.environ, **KEEP_MEMORY, "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def _keep_languages(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("phase\t"))
    kept = [line for line in lines[start + 1 :] if line.split("\t")[2] in LANGUAGES]
    table.write_text("".join([*lines[: start + 1], *kept]), encoding="utf-8")


def _edit(path: Path, **values) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, **values}), encoding="utf-8")


@pytest.mark.slow
def test_a_variant_is_trained_decoded_and_scored(rehearsed: Path):
    training = rehearsed / "exp_rehearsal" / f"sft_{LORA}_{REGIME}"
    experiment = Experiment.load(training)
    assert (experiment.lora, experiment.regime) == (LORA, REGIME)
    assert set(experiment.languages) >= LANGUAGES
    losses = [json.loads(line)["loss"] for line in (training / "train.jsonl").read_text().splitlines()]
    assert losses and all(loss > 0 for loss in losses)
    decoded = training / f"decode_greedy_{REGIME}"
    assert {row.language for row in read_scores(decoded / "scores.tsv")} == {"de", "ar"}
    lines = (decoded / "test_mls_de" / "text").read_text(encoding="utf-8").splitlines()
    assert len(lines) == SIZES["test"]
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines), lines


@pytest.mark.slow
def test_each_scale_has_its_own_report(rehearsed: Path):
    page = (rehearsed / "exp_rehearsal" / "RESULTS.md").read_text(encoding="utf-8")
    assert LORA in page
    assert not (rehearsed / "RESULTS.md").exists()


@pytest.mark.slow
def test_full_scale_accepts_local_backbones_and_corpora_in_the_real_layouts(rehearsed: Path):
    conf = rehearsed / "conf" / "full"
    backbones = rehearsed / "exp_rehearsal" / "backbones"
    _edit(conf / "model.yaml", whisper=str(backbones / "whisper"), llm=str(backbones / "llm"))
    corpora = yaml.safe_load((rehearsed / "conf/rehearsal/corpora.yaml").read_text(encoding="utf-8"))
    _edit(conf / "corpora.yaml", roots=corpora["roots"], utt_ids=corpora["utt_ids"])
    call(rehearsed, "--stage", "0", "--stop-stage", "4", scale="full")
    packing = json.loads((rehearsed / "dump_full/manifest/packing.json").read_text(encoding="utf-8"))
    assert packing["sft"]["max_positions"] == 2048
    assert (rehearsed / "exp_full/lid/lid_token.scp").is_file()


@pytest.mark.slow
def test_the_rehearsal_before_renting_a_machine_runs_every_step_once(rehearsed: Path):
    words = ["bash", "local/rehearse.sh", "--depth", "1", "--lora", "zipper_soft"]
    out = rehearsed / "exp_rehearsal/depth_1"
    out.mkdir()
    shutil.copytree(out.parent / "backbones", out / "backbones", copy_function=os.link)  # the ones it would make
    environment = {
        **os.environ,
        **KEEP_MEMORY,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done, again = (
        subprocess.run(words, capture_output=True, text=True, cwd=rehearsed, env=environment, check=False)
        for _ in range(2)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "up to date" in next((out / "logs").glob("*_corpora_and_backbones.log")).read_text(encoding="utf-8")
    page = (out / "REPORT.md").read_text(encoding="utf-8")
    steps = ["alignment, one step", "adaptation, one step: zipper_soft", "resume after a kill"]
    for step in (*steps, "decoding", "export", "transcription"):
        assert f"| {step} | " in page
        assert f" {step}: already done\n" in again.stderr
    assert "local/rehearse.sh --depth 1 --lora zipper_soft" in page
    text = next((out / "logs").glob("*_transcription.log")).read_text(encoding="utf-8")
    assert text.splitlines()
