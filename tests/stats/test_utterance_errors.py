from __future__ import annotations

import json

import pytest

from tests.stats.example import one_audit
from zipperasr.stats.utterance_errors import check_same_references, read_audit

LINE = {"id": "u1", "speaker": "s", "reference": ["a", "b"], "operations": "CIS"}


def written(directory, *records):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "audit.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_errors_and_units_of_each_utterance(tmp_path):
    audit = one_audit(tmp_path, ["CIS", "", "DDC", "II"], ["b", "a", "b", "c"])
    assert audit.errors.tolist() == [2, 0, 2, 2]
    assert audit.units.tolist() == [2, 0, 3, 0]
    assert audit.speakers.tolist() == [0, 1, 0, 2]
    assert audit.ids == ["u0000", "u0001", "u0002", "u0003"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([LINE, "{"], r"audit\.jsonl:2: not an utterance of stage 8 .*rerun stage 8"),
        ([{**LINE, "operations": None}], r"audit\.jsonl:1: not an utterance of stage 8"),
        ([{"id": "u1"}], r"audit\.jsonl:1: not an utterance of stage 8 \('speaker'\)"),
        ([["u1"]], r"audit\.jsonl:1: not an utterance of stage 8"),
        ([{**LINE, "operations": "CX"}], r"audit\.jsonl:1: id 'u1' has operations 'CX' for 2 reference units"),
        ([{**LINE, "operations": "C"}], r"audit\.jsonl:1: id 'u1' has operations 'C' for 2 reference units"),
        ([LINE, LINE], r"audit\.jsonl:2: id 'u1' after 'u1', wanted ascending ids; rerun stage 8"),
        ([], r"audit\.jsonl: no utterance; rerun stage 8"),
    ],
)
def test_an_error_in_a_file_names_the_line(tmp_path, records, message):
    with pytest.raises(ValueError, match=message):
        read_audit(written(tmp_path, *records))


def test_a_missing_file_names_the_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"audit\.jsonl: no such file; run stage 8 first"):
        read_audit(tmp_path / "audit.jsonl")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": "u2"}, r"b/audit\.jsonl: 2 ids differ from .*a/audit\.jsonl, first 'u1', which only the latter has"),
        ({"id": "u0"}, r"a/audit\.jsonl: 2 ids differ from .*b/audit\.jsonl, first 'u0', which only the latter has"),
        ({"reference": ["a", "c"]}, r"b/audit\.jsonl:1: id 'u1' has reference 'a c', but 'a b' in .*rerun stage 8"),
        ({"speaker": "t"}, r"b/audit\.jsonl:2: id 'u3' has another speaker in .*a/audit\.jsonl; rerun stage 8"),
    ],
)
def test_files_that_cannot_be_compared_are_errors(tmp_path, changed, message):
    first = read_audit(written(tmp_path / "a", LINE, {**LINE, "id": "u3"}))
    other = read_audit(written(tmp_path / "b", {**LINE, **changed}, {**LINE, "id": "u3"}))
    with pytest.raises(ValueError, match=message):
        check_same_references(first, other)
    check_same_references(first, first)
