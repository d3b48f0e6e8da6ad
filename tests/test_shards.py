"""Work is divided evenly and always in the same way; shards are complete or absent, and are merged only together."""

from __future__ import annotations

import random

import pytest

from zipperasr.atomic import fingerprint, mark_current
from zipperasr.shards import MERGE, MISSING, Balance, ShardDirs, ShardJob, ranges, shards_folder


@pytest.fixture
def dirs(tmp_path):
    """The shards of an output; the second has no work."""

    def of(count: int = 3, content: str = "x") -> ShardDirs:
        return ShardDirs(tmp_path / "out", count, {n: fingerprint(n=n, count=count, c=content) for n in (1, 3)})

    return of


def complete(shards: ShardDirs, number: int) -> None:
    shards.path(number).mkdir(parents=True, exist_ok=True)
    (shards.path(number) / "text").write_text(f"shard {number}\n")
    mark_current(shards.path(number), shards.inputs[number])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_get_equal_seconds_not_equal_numbers_of_pieces(count):
    rng = random.Random(count)
    seconds = [rng.choice([1.0, 2.0, 30.0]) for _ in range(200)]
    shards = Balance(count).assign(seconds)
    loads = [sum(s for s, shard in zip(seconds, shards, strict=True) if shard == n + 1) for n in range(count)]
    assert max(loads) - min(loads) <= min(seconds)
    assert Balance(count).assign(seconds) == shards


def test_later_pieces_even_out_what_earlier_ones_left_uneven():
    balance = Balance(3)
    assert balance.assign([5.0]) == [1]
    assert balance.assign([1.0, 4.0]) == [3, 2]
    assert balance.assign([]) == []


def test_of_equally_long_pieces_the_first_comes_first():
    assert Balance(2).assign([1.0, 1.0, 1.0]) == [1, 2, 1]


def test_a_shard_is_missing_until_it_is_complete(dirs):
    assert dirs().missing() == [1, 3]
    complete(dirs(), 3)
    assert dirs().missing() == [1]
    complete(dirs(), 1)
    assert dirs().missing() == []
    (dirs().path(3) / "text").unlink()
    assert dirs().missing() == [3]


@pytest.mark.parametrize("other", [{"count": 4}, {"content": "changed"}])
def test_shards_of_other_inputs_or_another_number_of_shards_are_not_used(dirs, other):
    complete(dirs(), 1)
    assert dirs(**other).missing() == [1, 3]


def test_merging_removes_the_shards(dirs, tmp_path):
    complete(dirs(), 1)
    complete(dirs(), 3)
    with dirs().merged() as paths:
        assert [(path / "text").read_text() for path in paths] == ["shard 1\n", "shard 3\n"]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_merge_keeps_the_shards(dirs, tmp_path):
    complete(dirs(), 1)
    with pytest.raises(ValueError, match=r"out\.shards: of 3 shards, 3 missing; run the stage again"), dirs().merged():
        pytest.fail("a shard is missing")
    complete(dirs(), 3)
    with pytest.raises(OSError, match="disk"), dirs().merged():
        raise OSError("disk")
    assert dirs().missing() == [] and shards_folder(tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    ("text", "job"),
    [("3/4", ShardJob(3, 4)), ("missing/2", ShardJob(MISSING, 2)), ("merge/12", ShardJob(MERGE, 12))],
)
def test_a_shard_is_written_as_number_and_count(text, job):
    assert ShardJob.parse(text) == job


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "missing/0", "-1/4", "1/4/2", "merged/4", "", "1/9999999"])
def test_a_malformed_shard_is_an_error(text):
    with pytest.raises(ValueError, match=r"--shard .*: wanted K/N with K from 1 to N, missing/N or merge/N"):
        ShardJob.parse(text)


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([2], "2:2"), ([3, 1, 2, 2], "1:3"), ([8, 1, 2, 5, 9], "1:2 5:5 8:9")]
)
def test_missing_shards_are_listed_as_ranges(numbers, text):
    assert ranges(numbers) == text
