"""Durations of audio files are read once, even if the run is interrupted and resumed."""

import os
from pathlib import Path

import pytest

from tests.corpora.example import write_noise
from zipperasr.corpora.utterance import Utterance
from zipperasr.prepare.probing import probe


def utterance(path: Path, **changes: object) -> Utterance:
    return Utterance(path.stem, "s", str(path), "text", "de")._replace(**changes)


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    for number in range(4):
        write_noise(tmp_path / f"{number}.wav", 1.0 + number / 4)
    return [utterance(tmp_path / f"{number}.wav") for number in range(4)]


def durations_s(utterances: list[Utterance], record: Path) -> list[float]:
    return [row.duration_s for rows, _ in probe(utterances, record) for row in rows]


def damage(path: str) -> None:
    """Change the duration in the header, but not the size and modification time of the file."""
    state = os.stat(path)
    Path(path).write_bytes(b"x" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_missing_files_are_reported_and_durations_from_metadata_are_kept(utterances, tmp_path: Path):
    given = [*utterances[:2], utterance(tmp_path / "gone.wav"), utterances[2]._replace(duration_s=7.0)]

    ((rows, exist),) = probe(given, tmp_path / "record")

    assert exist == [True, True, False, True]
    assert [row.duration_s for row in rows] == [1.0, 1.25, 0.0, 7.0]


def test_an_unreadable_header_has_no_duration(utterances, tmp_path: Path):
    Path(utterances[0].audio).write_bytes(b"no audio")

    assert durations_s(utterances[:2], tmp_path / "record") == [0.0, 1.25]


def test_a_second_run_reads_only_the_remaining_headers(utterances, tmp_path: Path):
    assert durations_s(utterances[:3], tmp_path / "record") == [1.0, 1.25, 1.5]
    for row in utterances[:3]:
        damage(row.audio)

    assert durations_s(utterances, tmp_path / "record") == [1.0, 1.25, 1.5, 1.75]
    damage(utterances[3].audio)
    assert durations_s(utterances, tmp_path / "record") == [1.0, 1.25, 1.5, 1.75]


def test_after_changed_files_or_another_order_headers_are_read_again(utterances, tmp_path: Path):
    assert durations_s(utterances, tmp_path / "record") == [1.0, 1.25, 1.5, 1.75]
    write_noise(Path(utterances[1].audio), 3.0)

    assert durations_s(utterances, tmp_path / "record") == [1.0, 3.0, 1.5, 1.75]
    assert durations_s(utterances[::-1], tmp_path / "record") == [1.75, 1.5, 3.0, 1.0]


def test_an_incomplete_line_is_ignored(utterances, tmp_path: Path):
    durations_s(utterances, tmp_path / "record")
    record = (tmp_path / "record").read_bytes()
    (tmp_path / "record").write_bytes(record[: len(record) // 2])

    assert durations_s(utterances, tmp_path / "record") == [1.0, 1.25, 1.5, 1.75]
    assert (tmp_path / "record").read_bytes() == record
