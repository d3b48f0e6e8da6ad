"""Own data through stages 1 to 3: every format gives the same manifest, and so do Kaldi's directories that we wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import EMBEDDED, WRITERS, write_audio
from tests.stages.sharded import content
from tests.train.tiny_recipe import options
from zipperasr.datadir.set_table import read_sets
from zipperasr.prepare.dataset_table import COLUMNS
from zipperasr.stages import build_manifest, format_audio, prepare_data

ROWS = [f"{{phase}} own:{{reader}} {lang} both train - - test 0 - -" for lang in ("de", "es")]


def write_recipe(base: Path, reader: str, root: str, phase: str = "sft") -> None:
    rows = [row.format(reader=reader, phase=phase).replace(" ", "\t") for row in ROWS]
    write_text(base / "datasets.tsv", "\t".join(COLUMNS), *rows)
    write_text(base / "corpora.yaml", f"roots: {{own: {root}}}", "utt_ids: none", "table_hours: false")


def run_stages(model: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Run stages 1 to 3 and return the manifests."""
    monkeypatch.chdir(base)
    languages = ["--languages", str(model / "conf/languages.tsv")]
    tables = ["--datasets", "datasets.tsv", "--corpora", "corpora.yaml", "--nj", "2"]
    assert prepare_data.main([*tables, *languages, "--out", "data"]) == 0
    assert format_audio.main(["--data", "data", "--out", "dump/raw", "--nj", "1"]) == 0
    assert build_manifest.main([*options(model), "--raw", "dump/raw", "--out", "dump/manifest"]) == 0
    return content(base / "dump/manifest", but_for=(".inputs.json", ".outputs.json"))


def test_every_format_gives_the_same_manifest(noise_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = {}
    writers = WRITERS | EMBEDDED
    for name, (reader, write) in writers.items():
        base = tmp_path / name
        write_audio(base / "own")
        for split in ("train", "test"):
            write(base / "own", split)
        write_recipe(base, reader, "own")
        found[name] = run_stages(noise_recipe, base, monkeypatch)

    assert sorted(found["jsonl"])[:2] == ["packing.json", "sets.tsv"] and len(found["jsonl"]) == 6
    assert {name: files == found["jsonl"] for name, files in found.items()} == dict.fromkeys(writers, True)
    # what stages 1 and 2 wrote is data of one's own to another recipe
    for place in ("jsonl/data", "jsonl/dump/raw", "save_to_disk/data", "parquet shards/data"):
        base = tmp_path / "from" / place
        for split in ("train", "test"):
            for lang in ("de", "es"):
                (base / "own" / lang).mkdir(parents=True, exist_ok=True)
                (base / "own" / lang / split).symlink_to(tmp_path / place / f"{split}_own_{lang}")
        write_recipe(base, "kaldi", "own")
        assert run_stages(noise_recipe, base, monkeypatch) == found["jsonl"], place


def test_data_of_both_phases_is_prepared_once(noise_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_audio(tmp_path / "own")
    for split in ("train", "test"):
        WRITERS["csv"][1](tmp_path / "own", split)
    write_recipe(tmp_path, "csv", "own", phase="both")

    run_stages(noise_recipe, tmp_path, monkeypatch)

    rows = read_sets(tmp_path / "dump/manifest/sets.tsv")
    assert [(row.set, row.phase) for row in rows if row.language == "es"] == [
        ("test_own_es", "both"),
        ("train_own_es", "both"),
    ]
    assert all(row.is_in("align") and row.is_in("sft") for row in rows)
    assert set(json.loads((tmp_path / "dump/manifest/packing.json").read_text())) == {"align", "sft"}


def test_a_damaged_entry_of_an_ark_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        write_noise(tmp_path / f"wav/{number}.flac", seed=number)
    write_text(tmp_path / "wav/a.ark", "not audio, but long enough for a header")
    for split in ("train", "test"):
        folder = tmp_path / "own" / split
        write_text(folder / "wav.scp", f"{split}0 wav/0.flac", f"{split}1 wav/1.flac", f"{split}2 wav/a.ark:3")
        for table, value in (("text", "hallo"), ("utt2lang", "de")):
            write_text(folder / table, *(f"{split}{number} {value}" for number in range(3)))
    write_recipe(tmp_path, "kaldi", "own")
    write_text(tmp_path / "datasets.tsv", *(tmp_path / "datasets.tsv").read_text().splitlines()[:2])
    write_text(
        tmp_path / "languages.tsv",
        "code whisper_token name unit normaliser prompt".replace(" ", "\t"),
        "de\tde\tGerman\twer\twhisper\tText:",
    )
    monkeypatch.chdir(tmp_path)

    tables = ["--datasets", "datasets.tsv", "--corpora", "corpora.yaml", "--languages", "languages.tsv"]
    assert prepare_data.main([*tables, "--out", "data"]) == 0
    format_audio.main(["--data", "data", "--out", "dump/raw", "--nj", "1"])

    reasons = [path.read_text() for path in Path("dump").rglob("*quarantine*") if path.is_file()]
    assert any("train2" in text and "wanted audio" in text for text in reasons)
