from __future__ import annotations

import hashlib

import pytest

from zipperasr.report.provenance import (
    audio_table,
    lists_table,
    packing_table,
    stages_table,
    tsv_table,
)


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
