from __future__ import annotations

import hashlib
import subprocess

import pytest

from zipperasr import code_version
from zipperasr.report import provenance
from zipperasr.report.provenance import (
    audio_table,
    lists_table,
    packing_table,
    stages_table,
    tsv_table,
)
from zipperasr.run_record import TrainingRun, save_run


def test_stages_have_their_longest_run_and_the_total(pristine_run):
    lines = stages_table(pristine_run / "exp" / "stages.tsv").splitlines()
    assert lines[2:] == [
        "| 0 | corpora_and_backbones | 61.5 | 900 |",
        "| 5 | alignment | 150.2 | 1800 |",
        "| 6 | sft_vanilla | 120.0 | 2100 |",
        "|  | **all** | **331.8** | **2100** |",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("wall_s", "seconds", r"stages.tsv: got columns"), ("61.5", "soon", r"stages.tsv: got 'soon', wanted a number")],
)
def test_damaged_stage_times(run_dir, old, new, message):
    path = run_dir / "exp" / "stages.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        stages_table(path)


def test_lists_show_lines_unique_ids_and_checksum(pristine_run, languages):
    text = lists_table(pristine_run / "conf" / "datasets.tsv", pristine_run / "conf" / "corpora.yaml", languages)
    checksum = hashlib.sha256(b"a-1\na-1\na-2\n").hexdigest()[:16]
    assert f"| `train/de.txt` | 3 | 2 | {checksum} |" in text
    assert "| `train/es.txt` | not found | – | – |" in text


def test_audio_shows_hours_and_quarantine(run_dir):
    (run_dir / "dump" / "raw" / "test_mls_de" / "quarantine.tsv").write_text("utt\treason\nx-1\tcut off\n", "utf-8")
    text = audio_table(run_dir / "dump" / "raw")
    assert "| test_mls_de | test | de | 3 | 0.001 | 1 |" in text
    assert "| test_mls_es | test | es | 3 | 0.001 | 0 |" in text


def test_packing_has_a_row_per_phase(pristine_run):
    text = packing_table(pristine_run / "dump" / "manifest" / "packing.json")
    assert text.splitlines()[2:] == ["| align | 12 | 0.9712 |", "| sft | 7 | 0.9 |"]


def test_missing_files_give_no_tables(tmp_path):
    assert [read(tmp_path / "a") for read in (stages_table, packing_table, tsv_table, audio_table)] == [""] * 4


def test_packing_statistics_in_another_format_are_an_error(tmp_path):
    (tmp_path / "packing.json").write_text('{"fill": 0.9}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"packing.json: got .*, wanted statistics by phase; rerun stage 3"):
        packing_table(tmp_path / "packing.json")


def write_trainings(directory, *commits: str | None):
    """Training directories a, b, ... whose code had these commits; None: an earlier version's record."""
    for name, commit in zip("abc", commits, strict=False):
        (directory / name).mkdir()
        versions = {} if commit is None else {"commit": commit}
        save_run(TrainingRun("align", None, "full", "1h", 1, versions=versions), directory / name)
    return [directory / name for name, _ in zip("abc", commits, strict=False)]


def test_one_commit_of_all_trainings_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "last_change", lambda paths: "")
    trainings = write_trainings(tmp_path, "f00d", "f00d")
    assert provenance.code_version(trainings, tmp_path) == "All 2 trainings: commit `f00d`."


def test_trainings_of_different_commits_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "last_change", lambda paths: "")
    trainings = write_trainings(tmp_path, "f00d", "cafe-dirty", None)
    assert provenance.code_version(trainings, tmp_path).splitlines() == [
        "The trainings differ in their code (3 versions):",
        "- commit `f00d`: 1 trainings (`a`)",
        "- commit `cafe-dirty`: 1 trainings (`b`)",
        "- unknown commit: 1 trainings (`c`)",
    ]
    assert provenance.code_version(trainings[2:], tmp_path) == ""


def test_the_commit_that_fixed_the_corpora_comes_before_the_trainings(tmp_path, monkeypatch):
    clone, corpora = tmp_path / "clone", tmp_path / "clone" / "conf" / "corpora.yaml"
    corpora.parent.mkdir(parents=True)
    hashes = []
    for number, file in enumerate(("corpora.yaml", "mini_corpora.yaml", "sft.yaml", "corpora.yaml")):
        (corpora.parent / file).write_text(str(number), encoding="utf-8")
        hashes.append(commit(clone, first=not number))
    monkeypatch.setattr(code_version, "_ROOT", clone)
    (before, after) = (write_trainings(tmp_path, hashes[2], hashes[2] + "-dirty"), hashes[3])
    git(clone, "checkout", "--quiet", hashes[2])
    text = provenance.code_version(before, corpora)
    assert f"last changed by commit `{hashes[1]}`, before all of these commits" in text
    git(clone, "checkout", "--quiet", after)
    assert f"last changed by commit `{after}`, **not** known to be before" in provenance.code_version(before, corpora)


def commit(clone, first: bool) -> str:
    """Commit everything; the abbreviated hash."""
    if first:
        git(clone, "init", "--quiet")
    git(clone, "add", ".")
    git(clone, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "change")
    return git(clone, "rev-parse", "--short=12", "HEAD")


def git(clone, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(clone), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
