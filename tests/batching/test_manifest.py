"""Stage 3: the content of a manifest, when it is rebuilt, and its errors."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.model import tiny
from tests.stages.sharded import content
from tests.train.tiny_recipe import SETS, options
from zipperasr.audio.segments import num_positions
from zipperasr.batching.manifest import Manifest, open_kind
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import prompt_ids, transcript_ids
from zipperasr.stages.build_manifest import main


@pytest.fixture
def copy(noise_recipe, tmp_path):
    """A copy of the recipe's tables and raw data that a test may damage; it has no manifest."""
    shutil.copytree(noise_recipe / "dump" / "raw", tmp_path / "dump" / "raw")
    shutil.copytree(noise_recipe / "conf", tmp_path / "conf")
    return tmp_path


def run(base) -> int:
    return main(options(base, raw="dump/raw", out="dump/manifest"))


def damage(path, change) -> None:
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_columns_contain_stage_2s_tables_and_what_packing_needs(noise_recipe):
    manifest = Manifest.open(noise_recipe / "dump" / "manifest", "train_y_de")
    tokenizer, table = tiny.llm_tokenizer(), LanguageTable.load(noise_recipe / "conf" / "languages.tsv")
    assert len(manifest) == SETS["train_y_de"][3]
    for index in range(len(manifest)):
        row = manifest.row(index)
        assert row["language"] == "de"
        assert row["repeat"] == 1
        assert row["num_tokens"] == len(transcript_ids(tokenizer, row["text"]))
        prompt = len(prompt_ids(tokenizer, table["de"]))
        assert row["positions"] == prompt + num_positions(row["num_samples"]) + row["num_tokens"]
        assert manifest.positions[index] == row["positions"]
        assert manifest.num_samples[index] == row["num_samples"]


def test_any_number_of_processes_gives_the_same_files(copy, monkeypatch):
    monkeypatch.setattr("zipperasr.batching.build_manifests.BLOCK_ROWS", 2)
    (copy / "conf" / "clips.yaml").write_text("joined: 0.5\nlongest_s: 6.0\nedges: 0.5\n")
    argv = [*options(copy, raw="dump/raw", out="dump/manifest"), "--clips", str(copy / "conf" / "clips.yaml")]
    found = []
    for nj in ("1", "3"):
        assert main([*argv, "--nj", nj]) == 0
        found.append(content(copy / "dump" / "manifest"))
        shutil.rmtree(copy / "dump" / "manifest")
    assert found[0] == found[1]
    assert len(found[0]) == len(SETS) + 4  # sets.tsv, packing.json, the records of inputs and outputs


def test_a_set_without_utterances_is_an_error(copy, capsys):
    for table in (copy / "dump" / "raw" / "dev_y_de").iterdir():
        if table.is_file() and not table.name.startswith("."):
            table.write_text("")
    assert run(copy) == 1
    assert "dev_y_de: no utterances; rerun stage 2, or remove the set from " in capsys.readouterr().err
    assert not (copy / "dump" / "manifest").exists()


def test_repeats_are_taken_from_stage_2(copy):
    (copy / "dump" / "raw" / "dev_y_de" / "utt2repeat").write_text("s-de600-00 1\ns-de600-01 3\n")
    assert run(copy) == 0
    assert Manifest.open(copy / "dump" / "manifest", "dev_y_de").repeat.tolist() == [1, 3]


def test_the_packing_report_has_the_fill_rate_and_utterances_that_are_too_long(copy):
    (copy / "conf" / "model.yaml").open("a").write("max_positions: 35\n")
    assert run(copy) == 0
    report = json.loads((copy / "dump" / "manifest" / "packing.json").read_text())
    assert set(report) == {"align", "sft"}
    assert report["sft"]["too_long"] > 0
    assert report["sft"]["utterances"] + report["sft"]["too_long"] == 12 + 5
    assert 0 < report["sft"]["fill"] <= 1


def test_a_second_run_is_skipped_and_a_changed_text_rebuilds_the_manifest(copy, capsys):
    assert run(copy) == 0
    written = (copy / "dump" / "manifest" / "sets.tsv").stat().st_ino
    assert run(copy) == 0
    assert "is up to date" in capsys.readouterr().err
    assert (copy / "dump" / "manifest" / "sets.tsv").stat().st_ino == written
    text = copy / "dump" / "raw" / "dev_y_de" / "text"
    damage(text, lambda lines: [line.replace("eins", "neun") for line in lines])
    assert run(copy) == 0
    assert Manifest.open(copy / "dump" / "manifest", "dev_y_de").row(0)["text"] == "neun"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("utt2lang", lambda lines: lines[:-1], "utt2lang: got the end of the file where utt2spk has id"),
        ("wav.scp", lambda lines: lines[::-1], "wav.scp: got 's-de600-01' where utt2spk has id 's-de600-00'"),
        ("text", lambda lines: [*lines, lines[0]], "text: id 's-de600-00' is not in utt2spk; rerun the stage"),
        ("utt2lang", lambda lines: [line.replace(" de", " dee") for line in lines], "unknown language 'dee'; did you"),
    ],
)
def test_inconsistent_files_are_an_error(copy, capsys, name, change, message):
    damage(copy / "dump" / "raw" / "dev_y_de" / name, change)
    assert run(copy) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (copy / "dump" / "manifest").exists()


def test_a_missing_file_names_the_stage(copy, capsys):
    (copy / "dump" / "raw" / "dev_y_de" / "utt2num_samples").unlink()
    assert run(copy) == 1
    assert "utt2num_samples: no such file; rerun stage 2" in capsys.readouterr().err.splitlines()[-1]


def test_missing_output_of_stage_2_names_the_stage(copy, capsys):
    shutil.rmtree(copy / "dump" / "raw")
    assert run(copy) == 1
    assert "dump/raw/sets.tsv: no such file; run stage 2 first" in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_manifest_names_the_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train_x\.arrow: no manifest; run stage 3"):
        Manifest.open(tmp_path, "train_x")


def test_sets_are_opened_by_kind_and_phase(noise_recipe):
    directory = noise_recipe / "dump" / "manifest"
    assert [m.name for m in open_kind(directory, "train", "sft")] == ["train_y_de", "train_y_es"]
    assert len(open_kind(directory, "train")) == 4
    with pytest.raises(ValueError, match=r"sets\.tsv: no train set of phase other; run stages 1 to 3"):
        open_kind(directory, "train", "other")


def test_a_second_run_fails_before_it_writes(copy, capsys, held_elsewhere):
    (copy / "exp").mkdir()
    message = held_elsewhere(copy / "dump" / "manifest")
    assert run(copy) == 1
    assert message in capsys.readouterr().err
    assert not (copy / "dump" / "manifest").exists()
