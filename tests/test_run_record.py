"""run.json round-trips; a damaged one is reported in one line."""

from __future__ import annotations

import pytest

from zipperasr.run_record import NAME, DecodingRun, TrainingRun, load_run, save_run, versions

TRAINING = TrainingRun(
    "sft", "zipper_soft", "chunked", "30h", 2, "initial_b",
    parents={"alignment": "exp/align_chunked"}, initial_parts=("b", "router"), versions=versions(),
)  # fmt: skip


@pytest.mark.parametrize("run", [TRAINING, DecodingRun("beam4", "full")], ids=["training", "decoding"])
def test_a_record_round_trips(tmp_path, run):
    save_run(run, tmp_path)
    assert load_run(type(run), tmp_path) == run


def test_a_directory_of_an_earlier_version_has_no_record(tmp_path):
    assert load_run(TrainingRun, tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "wanted keys of TrainingRun"), ('{"seed": "x"}', "seed"), ("[" * 9999, "not JSON")],
)
def test_a_damaged_file_is_reported_in_one_line(tmp_path, text, message):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_run(TrainingRun, tmp_path)
    assert str(error.value).startswith(str(tmp_path / NAME))
