"""Results without weights: packed, unpacked elsewhere, scored again, and reported as before."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from local import saved_cells
from local.saved_cells import is_loaded, load_cells, save_cells
from tests.report.conftest import languages, options_for, pristine_run, run_dir
from zipperasr.decode.encoder_means import FILE, write_means
from zipperasr.stages.report import main as report
from zipperasr.stages.score import main as score

__all__ = ["languages", "pristine_run", "run_dir"]
TRAININGS = ("align_chunked", "sft_vanilla_chunked", "sft_zipper_soft_chunked")


@pytest.fixture
def trained(run_dir: Path) -> Path:
    """A recipe directory after stage 8, with weights and encoder means."""
    generator = np.random.default_rng(1)
    for name in TRAININGS:
        directory = run_dir / "exp" / name
        (directory / "config.yaml").write_text(yaml.safe_dump({"phase": "sft", "lora": name[4:-8]}), encoding="utf-8")
        tensors = {"projector.x": torch.ones(3, 5)}
        if "soft" in name:
            final = json.loads((directory / "router_final.json").read_text(encoding="utf-8"))
            for number, layer in enumerate(final["layers"]):
                tensors[f"encoder.whisper.{layer}.b_shared"] = torch.ones(2, 4)
                tensors[f"encoder.whisper.{layer}.b_specific"] = torch.full((12, 2, 4), 0.1 * number)
        save_file(tensors, directory / "model.safetensors")
        for text in directory.glob("decode_*/*/text"):
            ids = [line.split()[0] for line in text.read_text(encoding="utf-8").splitlines()]
            means = {utt_id: generator.normal(size=6).astype(np.float32) for utt_id in ids}
            write_means(text.with_name(FILE), means)
    return run_dir


def save(recipe: Path, archive: Path, languages) -> Path:
    save_cells(recipe / "exp", archive, languages.path)
    return archive


def elsewhere(recipe: Path, archive: Path) -> Path:
    """A copy of the recipe's data, with trainings from the archive alone."""
    copy = Path(shutil.copytree(recipe, recipe.with_name("elsewhere")))
    for name in TRAININGS:
        shutil.rmtree(copy / "exp" / name)
    load_cells(archive, copy / "exp")
    return copy


def pages(recipe: Path, languages) -> tuple[list[str], str]:
    """The lines of RESULTS.md, and CLAIMS.md."""
    assert report([*options_for(recipe, languages), "--html", "false"]) == 0
    results = (recipe / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    return results, (recipe / "CLAIMS.md").read_text(encoding="utf-8")


def test_the_report_needs_hypotheses_only(trained, tmp_path, languages):
    copy = elsewhere(trained, save(trained, tmp_path / "cells.tar.xz", languages))
    assert all(is_loaded(copy / "exp" / name) and not is_loaded(trained / "exp" / name) for name in TRAININGS)
    for name in TRAININGS:
        decoded = copy / "exp" / name / "decode_greedy_chunked"
        assert not (decoded / "scores.tsv").exists()
        options = ["--decode_dir", str(decoded), "--raw", str(copy / "dump/raw"), "--languages", str(languages.path)]
        assert score(options) == 0
    (before, claims), (after, claims_after) = (pages(recipe, languages) for recipe in (trained, copy))
    assert claims_after == claims and "silhouette" in claims
    assert [line for line in before if line not in after and "t-SNE" not in line] == []
    assert any(line.startswith("| `zipper_soft` | chunked | 2,496 | 2,511 |") for line in after), "parameters"
    assert "## Specific over shared: norms of the two parts of B" in after


def test_loaded_results_can_be_saved_again(trained, tmp_path, languages):
    archive = save(trained, tmp_path / "cells.tar.xz", languages)
    copy = elsewhere(trained, archive)
    for name in TRAININGS:
        decoded = Path("exp") / name / "decode_greedy_chunked" / "scores.tsv"
        shutil.copy(trained / decoded, copy / decoded)
    assert save(copy, tmp_path / "again.tar.xz", languages).read_bytes() == archive.read_bytes()


def test_equal_results_give_equal_bytes_without_times_owners_and_weights(trained, tmp_path, languages):
    one = save(trained, tmp_path / "one.tar.xz", languages)
    for path in (trained / "exp").rglob("*"):
        os.utime(path, (1, 1))
    assert save(trained, tmp_path / "other.tar.xz", languages).read_bytes() == one.read_bytes()
    with tarfile.open(one) as tar:
        members = tar.getmembers()
    assert [member.name for member in members if member.mtime or member.uid or member.uname] == []
    assert not any(member.name.endswith((".safetensors", ".ark", "audit.jsonl")) for member in members)
    assert {member.name.split("/")[0] for member in members} == set(TRAININGS)


def test_a_training_that_is_there_is_kept(trained, tmp_path, languages, capsys):
    archive = save(trained, tmp_path / "cells.tar.xz", languages)
    shutil.rmtree(trained / "exp" / TRAININGS[0])
    load_cells(archive, trained / "exp")
    assert "loaded 1 trainings" in capsys.readouterr().err
    assert is_loaded(trained / "exp" / TRAININGS[0]) and not is_loaded(trained / "exp" / TRAININGS[1])


def test_another_training_under_the_same_name_is_named(trained, tmp_path, languages, capsys):
    archive = save(trained, tmp_path / "cells.tar.xz", languages)
    directory = trained / "exp" / TRAININGS[0]
    next(directory.glob("decode_*/*/text")).write_text("a b\n", encoding="utf-8")
    load_cells(archive, trained / "exp")
    said = capsys.readouterr().err
    assert f"{directory}: kept, but its hypotheses are not those of {archive}: another training" in said
    assert said.count("another training") == 1


@pytest.mark.parametrize(
    "name",
    [
        "../sft_x/run.json",
        "/sft_x/run.json",
        "sft_x/../../run.json",
        "sft_x/./run.json",
        "sft_x/run.json\n",
        ".hidden/run.json",
        "sft_x/model.safetensors",
        "sft_x/decode_x/test/score_wer/text",
        "run.json",
    ],
)
def test_a_file_that_is_no_result_is_refused_and_nothing_is_written(tmp_path, name):
    archive = packed(tmp_path, "sft_a/run.json", name)
    with pytest.raises(ValueError, match="not the results of a training; nothing was unpacked"):
        load_cells(archive, tmp_path / "exp")
    assert not (tmp_path / "exp").exists() and sorted(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_link_is_refused(tmp_path, kind):
    archive = packed(tmp_path, "sft_a/run.json", kind=kind)
    with pytest.raises(ValueError, match=r"'sft_a/run\.json': got a link or directory, wanted files only"):
        load_cells(archive, tmp_path / "exp")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    archive = packed(tmp_path, "sft_a/run.json", "sft_a/config.yaml", content=b"0" * 600)
    monkeypatch.setattr(saved_cells, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"cells\.tar\.xz: more than 100,000 files or 1,000 bytes when unpacked"):
        load_cells(archive, tmp_path / "exp")


def test_a_damaged_archive_is_named(tmp_path):
    archive = packed(tmp_path, "sft_a/run.json", content=os.urandom(5000))
    whole = archive.read_bytes()
    for damaged in (whole[:2000], b"not an archive", whole[:60] + b"xxxx" + whole[64:]):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cells.tar.xz: not a complete tar.xz .*; fetch the file again"):
            load_cells(archive, tmp_path / "exp")
    with pytest.raises(FileNotFoundError):
        load_cells(tmp_path / "none.tar.xz", tmp_path / "exp")


def packed(directory: Path, *names: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> Path:
    """An archive with these members."""
    path = directory / "cells.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(content))
    return path
