"""nbest.jsonl: what is written can be read back, and anything else is an error with file and line."""

from __future__ import annotations

import json

import pytest

from zipperasr.decode.alternatives import Alternative, read_nbest, write_nbest

LISTS = {
    "u1": (Alternative("ja  da", -0.5), Alternative("", -0.75), Alternative("ja da", -1.0)),
    "u2": (Alternative("今日\u2028は", -0.1),),
}


def test_lines_are_in_the_order_of_the_ids_and_texts_as_in_the_file_text(tmp_path):
    write_nbest(tmp_path / "nbest.jsonl", LISTS, ["u2", "u1"])
    lines = (tmp_path / "nbest.jsonl").read_bytes().decode().split("\n")
    assert json.loads(lines[0]) == {"id": "u2", "alternatives": [{"text": "今日 は", "score": -0.1}]}
    found = read_nbest(tmp_path / "nbest.jsonl")
    assert list(found) == ["u2", "u1"]
    assert found["u1"] == (Alternative("ja da", -0.5), Alternative("", -0.75)), "spaces make no other text"


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '{"id": "u2"',
        '{"id": "u2"}',
        '{"id": "u2", "alternatives": []}',
        '{"id": 2, "alternatives": [{"text": "a", "score": -1}]}',
        '{"id": "u2", "alternatives": [{"text": "a"}]}',
        '{"id": "u2", "alternatives": [{"text": 1, "score": -1}]}',
        '{"id": "u2", "alternatives": [{"text": "a", "score": NaN}]}',
        '{"id": "u2", "alternatives": [{"text": "a", "score": "high"}]}',
        '{"id": "u1", "alternatives": [{"text": "a", "score": -1}]}',
    ],
)
def test_another_line_is_an_error_with_its_number(tmp_path, line):
    path = tmp_path / "nbest.jsonl"
    path.write_text(f'{{"id": "u1", "alternatives": [{{"text": "a", "score": -1}}]}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"nbest\.jsonl:2: got .*, wanted an id .*; rerun stage 7"):
        read_nbest(path)
