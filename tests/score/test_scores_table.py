from __future__ import annotations

import pytest

from zipperasr.score.scores_table import SetScore, read_scores, write_scores

ROW = SetScore(
    *("test_mls_de", "sft", "mls", "de", "wer", "whisper"),
    *(3, 8, 1, 1, 0, 0, 12.5, 1, 0, 0, 4, 9, 1, 11.1111, 0.0, 25.0, "utterance", 2),
    *(1, 0, 2, 0, 0.00123, 3),
)


def test_rows_round_trip(tmp_path):
    write_scores(tmp_path / "scores.tsv", [ROW, ROW])
    assert read_scores(tmp_path / "scores.tsv") == [ROW, ROW]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("set\tphase", "sets\tphase", r"scores.tsv:1: got columns"),
        ("\t11.1111", "", r"scores.tsv:2: got 29 cells, wanted 30; rerun stage 8"),
        ("\t12.5", "\tfew", r"scores.tsv:2: could not convert string to float: 'few'; rerun stage 8"),
    ],
)
def test_a_damaged_table_names_file_and_line(tmp_path, old, new, message):
    path = tmp_path / "scores.tsv"
    write_scores(path, [ROW])
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_scores(path)
