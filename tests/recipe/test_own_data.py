"""docs/own_data.md: its three commands, on real recordings and with the mini models."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recipe.checkout import copy_checkout, edit
from zipperasr.exchange import export
from zipperasr.own_data import new_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPEECH = {  # split -> path below fixtures/real_speech, language, speaker
    "train": [
        ("leopard/test.wav", "en", None),
        ("LibriSpeech/dev-clean/1272/128104/1272-128104-0000.flac", "en", "1272"),
        ("LibriSpeech/dev-clean/2412/153948/2412-153948-0000.flac", "en", "2412"),
        ("leopard/test_es.wav", "es", None),
    ],
    "dev": [("LibriSpeech/dev-clean/1272/128104/1272-128104-0001.flac", "en", "1272")],
    "test": [
        ("LibriSpeech/test-clean/61/70968/61-70968-0000.flac", "en", "61"),
        ("mls_spanish_opus/train/audio/13697/11991/13697_11991_000000.opus", "es", "13697"),
    ],
}


def commands(page: Path, name: str = "my_recipe") -> list[str]:
    """The commands of the block that starts with `zipperasr new NAME`."""
    block = re.search(rf"^ {{4}}zipperasr new {name} .*\n(?: {{4}}.*\n)+", page.read_text(encoding="utf-8"), re.M)[0]
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


def write_lists(project: Path, recordings: Path) -> None:
    with (recordings / "INDEX.tsv").open(encoding="utf-8") as stream:
        text_of = {row["path"]: row["transcript"] for row in csv.DictReader(stream, delimiter="\t")}
    for split, rows in SPEECH.items():
        lines = [
            json.dumps(
                {"audio_filepath": str(recordings / path), "text": text_of[path].lower(), "lang": lang}
                | ({"speaker": speaker} if speaker else {})
            )
            for path, lang, speaker in rows
        ]
        (project / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def project(root: Path, shared_dir: Path, tmp_path_factory) -> Path:
    """A checkout with lists of real recordings, and short trainings; `zipperasr` is its own."""
    target = tmp_path_factory.mktemp("project")
    conf = copy_checkout(root, target)
    edit(conf / "decode.yaml", tokens_per_s=3)
    for phase in ("align", "sft"):
        edit(conf / f"{phase}.yaml", epochs=1, log_every=1)
    (target / "bin").mkdir()
    program = target / "bin/zipperasr"
    program.write_text('#!/bin/sh\nexec python3 -m zipperasr "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    write_lists(target, shared_dir / "fixtures/real_speech")
    return target


def test_readme_has_the_same_commands():
    assert commands(DOCS.parent / "README.md") == commands(DOCS / "own_data.md")


@dataclass(frozen=True)
class Finished:
    """A recipe after its commands."""

    recipe: Path
    transcript: str

    def scores(self, training: str) -> dict[str, dict[str, str]]:
        with (self.recipe / training / "decode_greedy_chunked/scores.tsv").open(encoding="utf-8") as stream:
            return {row["set"]: row for row in csv.DictReader(stream, delimiter="\t")}

    def text(self, training: str, test_set: str) -> str:
        return (self.recipe / training / "decode_greedy_chunked" / test_set / "text").read_text(encoding="utf-8")


def run_commands(project: Path, name: str, recording: Path, *changes: tuple[str, str]) -> Finished:
    """Run the commands of docs/own_data.md on the CPU; `changes` are made to their text."""
    script = "\n".join(commands(DOCS / "own_data.md", name))
    for old, new in (*changes, ("--lang de recording.wav", f"--lang en {recording}")):
        assert old in script
        script = script.replace(old, new)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = [str(project / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment |= {"PATH": os.pathsep.join(path), "PYTHONPATH": str(project)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return Finished(project / "egs2" / name / "asr1", done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def recording(shared_dir: Path) -> Path:
    return shared_dir / "fixtures/real_speech" / SPEECH["test"][0][0]


@pytest.fixture(scope="module")
def trained(project: Path, recording: Path) -> Finished:
    """Nothing is edited between the commands; only the scale is small, and the recording is one of the test set."""
    changes = (("--ngpu 1", "--scale mini --nproc 1 --nj 1"), ("exp_full", "exp"))
    return run_commands(project, "my_recipe", recording, *changes)


@pytest.mark.slow
def test_three_commands_from_a_list_to_a_transcript(trained: Finished, project: Path):
    rows = trained.scores("exp/sft_zipper_soft_chunked")
    assert {name: row["utts"] for name, row in rows.items()} == {"test_my_recipe_en": "1", "test_my_recipe_es": "1"}
    assert all(int(row["ref_units"]) > 5 for row in rows.values())
    assert "| `zipper_soft` |" in (trained.recipe / "RESULTS.md").read_text(encoding="utf-8")
    for name in ("align_chunked", "sft_zipper_soft_chunked"):
        assert (trained.recipe / "exp" / name / "train.jsonl").read_text(encoding="utf-8")
    assert trained.transcript
    assert project != new_recipe.PROJECT, "the test must not write into this checkout"


@pytest.mark.slow
def test_fine_tuning_a_bundle_reports_what_other_languages_lose(trained: Finished, project: Path, recording: Path):
    """Spanish is trained; English, in the test list only, keeps its output. Both are scored before and after."""
    bundle, model = project / "model.zip", trained.recipe / "exp/sft_zipper_soft_chunked"
    assert export.main(["--model", str(model), "--format", "bundle", "--out", str(bundle)]) == 0
    lines = (project / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (project / "spanish.jsonl").write_text(lines[-1] + "\n", encoding="utf-8")
    settings = "precision=fp32 packs_per_batch=1 lr=0.1 epochs=2 num_workers=0"
    decoding = "precision=fp32 tokens_per_s=3"
    changes = (
        ("--train train.jsonl", "--train spanish.jsonl"),
        ("--ngpu 1", f'--nproc 1 --nj 1 --train_args "{settings}" --decode_args "{decoding}"'),
    )

    tuned = run_commands(project, "my_model", recording, *changes)

    before, after = "exp_full/pretrained", "exp_full/pretrained_tuned"
    for training in (before, after):
        assert set(tuned.scores(training)) == {"test_my_model_en", "test_my_model_es"}
    assert tuned.text(before, "test_my_model_en") == tuned.text(after, "test_my_model_en")
    assert tuned.text(before, "test_my_model_es") != tuned.text(after, "test_my_model_es")
    page = (tuned.recipe / "exp_full/RESULTS.md").read_text(encoding="utf-8")
    assert "| `zipper_soft` |" in page and "| `zipper_soft tuned` |" in page
