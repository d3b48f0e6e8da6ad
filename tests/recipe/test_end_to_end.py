"""run.sh from stage 0 to RESULTS.md at a reduced mini scale: real corpus layouts, real training, real scores."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.stages.sharded import content

pytestmark = pytest.mark.slow

TIMED = ("rtf.json", "run.json", "scores.tsv")  # files with times
# two utterances of each kind and language would suffice, but held-out dev sets need more
SIZES = {"align_train": 24, "high_train": 20, "low_train_1h": 6, "low_train_30h": 8, "dev": 4, "test": 4}


@pytest.fixture(scope="module")
def recipe_dir(root: Path, tmp_path_factory) -> Path:
    """A recipe with links to the shared stages and a copy of conf/ with reduced sizes."""
    directory = tmp_path_factory.mktemp("reduced")
    source = root / "egs2" / "zipper12" / "asr1"
    for name in ("asr.sh", "path.sh", "cmd.sh", "utils", "local", "run.sh"):
        (directory / name).symlink_to((source / name).resolve())
    subprocess.run(["cp", "-r", source / "conf", directory / "conf"], check=True)
    _edit(directory / "conf" / "mini" / "mini_corpora.yaml", **SIZES, speaker_utts=4, repeats=1)
    for phase in ("align", "sft"):
        _edit(directory / "conf" / "mini" / f"{phase}.yaml", epochs=1, log_every=2, eval_every=12, save_every=12)
    return directory


@pytest.fixture(scope="module")
def finished(recipe_dir: Path) -> subprocess.CompletedProcess:
    """Run the complete recipe once."""
    return call(recipe_dir, "--stage", "0", "--stop-stage", "9")


def call(recipe_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "asr.sh", *arguments],
        capture_output=True,
        text=True,
        cwd=recipe_dir,
        env={**os.environ, "PATH": path, **environment},
        check=False,
    )


def _edit(path: Path, **values) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, **values}), encoding="utf-8")


def test_all_stages_succeed_and_write_a_report(recipe_dir, finished):
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    results = (recipe_dir / "RESULTS.md").read_text(encoding="utf-8")
    assert "zipper_soft" in results
    figures = {path.name for path in (recipe_dir / "exp" / "figures").glob("*.png")}
    assert len(figures) >= 4, figures


def test_every_test_set_is_scored_in_its_languages_unit(recipe_dir, finished):
    scores = recipe_dir / "exp" / "sft_zipper_soft_chunked" / "decode_greedy_chunked" / "scores.tsv"
    with scores.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    units = {row["language"]: row["unit"] for row in rows}
    assert len(units) == 13
    assert {code for code, unit in units.items() if unit == "cer"} == {"zh", "ja", "ko", "th"}
    for row in rows:
        assert int(row["errors"]) >= int(
            row["jiwer_errors"]
        )  # jiwer minimises the number of errors, sclite gives substitutions a higher cost


def test_the_loss_falls_and_records_are_written(recipe_dir, finished):
    exp = recipe_dir / "exp" / "align_chunked"
    losses = [json.loads(line)["loss"] for line in (exp / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert losses[-1] < losses[0]
    versions = json.loads((exp / "run.json").read_text(encoding="utf-8"))["versions"]
    assert versions["torch"] and versions["deepspeed"]
    assert list((exp / "tensorboard").iterdir())
    assert not (exp / "checkpoints").exists()


def test_stage_times_are_recorded_for_every_stage(recipe_dir, finished):
    with (recipe_dir / "exp" / "stages.tsv").open(encoding="utf-8") as stream:
        stages = {row["stage"] for row in csv.DictReader(stream, delimiter="\t")}
    assert stages == {str(number) for number in range(10)}


def test_another_variant_starts_from_the_same_alignment_and_skips_finished_work(recipe_dir, finished):
    written = [*recipe_dir.glob("exp/*/model.safetensors"), *recipe_dir.glob("dump/*/sets.tsv")]
    written += recipe_dir.glob("exp/*/decode_*/*/text")
    before = {path: path.stat().st_mtime_ns for path in written}
    assert len(before) > 20
    few = ("--eval_lang", "en th")
    again = call(recipe_dir, "--stage", "0", "--stop-stage", "8", "--lora", "vanilla", "--regime", "chunked", *few)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert (recipe_dir / "exp" / "sft_vanilla_chunked" / "decode_greedy_chunked" / "scores.tsv").is_file()


def test_a_stage_without_its_inputs_names_the_stage_to_run(recipe_dir):
    done = call(recipe_dir, "--stage", "5", "--stop_stage", "5", "--expdir", "exp_none", "--dumpdir", "dump_none")
    assert done.returncode != 0
    assert "run stage" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_stages_on_slurm_write_the_same_bytes(recipe_dir, finished, slurm, tmp_path):
    """Stages 2 to 4, and 7 and 8, as jobs and arrays on two nodes, against the local run."""
    trained = ("exp/align_chunked", "exp/sft_zipper_soft_chunked")
    data, decoding = tmp_path / "data", tmp_path / "decoding"
    for directory, names in ((data, ["data"]), (decoding, ["data", "dump"])):
        (directory / "exp").mkdir(parents=True)
        for name in ("asr.sh", "path.sh", "cmd.sh", "utils", "local", "conf", "downloads", "exp/backbones", *names):
            (directory / name).symlink_to(recipe_dir / name)
    for name in trained:
        shutil.copytree(recipe_dir / name, decoding / name, ignore=shutil.ignore_patterns("decode_*"))
    jobs = ("--nj", "2", "--inference_nj", "2")
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(call, data, "--stage", "2", "--stop-stage", "4", *jobs, **slurm),
            pool.submit(call, decoding, "--stage", "7", "--stop-stage", "8", *jobs, **slurm),
        ]
    for run in runs:
        assert run.result().returncode == 0, run.result().stdout[-3000:] + run.result().stderr[-3000:]
        assert "running shards 1-2 of 2" in run.result().stderr
    for directory, folders in ((data, ("dump/raw", "dump/manifest", "exp/lid")), (decoding, trained)):
        for folder in folders:
            one, other = directory / folder, recipe_dir / folder
            assert content(one, but_for=TIMED) == content(other, but_for=TIMED), folder
            assert scores_in(one) == scores_in(other)


def scores_in(directory: Path) -> list[list[dict[str, str]]]:
    """The rows of every scores.tsv, without the real-time factor."""
    tables = []
    for path in sorted(directory.rglob("scores.tsv")):
        with path.open(encoding="utf-8") as stream:
            rows = csv.DictReader(stream, delimiter="\t")
            tables.append([{key: value for key, value in row.items() if key != "rtf"} for row in rows])
    return tables
