"""docs/own_data.md: its three commands, on real recordings and with the mini models."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe.checkout import copy_checkout, edit
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


def commands(page: Path) -> list[str]:
    """The commands of the block that starts with `zipperasr new`."""
    block = re.search(r"^ {4}zipperasr new .*\n(?: {4}.*\n)+", page.read_text(encoding="utf-8"), re.M)[0]
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


@pytest.mark.slow
def test_three_commands_from_a_list_to_a_transcript(project: Path, shared_dir: Path):
    """Nothing is edited in between; only the scale is small, and the recording is one of the test set."""
    recording = shared_dir / "fixtures/real_speech" / SPEECH["test"][0][0]
    new, run, transcribe = commands(DOCS / "own_data.md")
    script = "\n".join(
        [
            new,
            run.replace("--ngpu 1", "--scale mini --nproc 1 --nj 1"),
            transcribe.replace("exp_full", "exp").replace("--lang de recording.wav", f"--lang en {recording}"),
        ]
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = [str(project / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment |= {"PATH": os.pathsep.join(path), "PYTHONPATH": str(project)}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=project, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    recipe = project / "egs2/my_recipe/asr1"
    with (recipe / "exp/sft_zipper_soft_chunked/decode_greedy_chunked/scores.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert {row["set"]: row["utts"] for row in rows} == {"test_my_recipe_en": "1", "test_my_recipe_es": "1"}
    assert all(int(row["ref_units"]) > 5 for row in rows)
    assert "| `zipper_soft` |" in (recipe / "RESULTS.md").read_text(encoding="utf-8")
    steps = [
        len((recipe / f"exp/{name}/train.jsonl").read_text().splitlines())
        for name in ("align_chunked", "sft_zipper_soft_chunked")
    ]
    assert min(steps) >= 1
    assert done.stdout.strip().splitlines()[-1], "the transcript"
    assert project != new_recipe.PROJECT, "the test must not write into this checkout"
