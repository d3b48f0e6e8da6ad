"""Packing with speeds: complete, within the capacity, counted as resampled, and the same packs as ever without."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from tests.batching.test_packing import MAX, manifest
from zipperasr.audio.augment import changed_length
from zipperasr.audio.segments import num_positions
from zipperasr.batching import packing
from zipperasr.batching.packing import fill, pack_epoch

SPEEDS = (0.9, 1.0, 1.1)


@pytest.fixture(scope="module")
def manifests():
    return [manifest("x", {"de": 700, "es": 90}, 1, repeats=3), manifest("y", {"de": 300, "ja": 11}, 2)]


def pack(manifests, seed: int = 1, epoch: int = 0, capacity: int = MAX, **more):
    return pack_epoch(manifests, capacity, seed, epoch, **{"speeds": SPEEDS, **more})


def drawn(packs) -> list[tuple[tuple[int, int], float]]:
    """Utterances and their speeds."""
    return [one for each in packs for one in zip(each.rows, each.speeds, strict=True)]


def counted(manifests, place: tuple[int, int], speed: float) -> tuple[int, int]:
    """Samples and positions of an utterance at a speed."""
    number, row = place
    before = int(manifests[number].num_samples[row])
    samples = int(changed_length(before, speed))
    return samples, int(manifests[number].positions[row]) - num_positions(before) + num_positions(samples)


def digest(packs) -> str:
    text = repr([(p.language, p.rows, p.positions, p.num_tokens, p.num_samples) for p in packs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_without_speeds_the_packs_are_those_of_earlier_versions(manifests):
    assert digest(pack_epoch(manifests, MAX, 1, 0)) == "e002d70e3cc1482d"
    assert digest(pack_epoch(manifests, MAX, 7, 2, 0.3)) == "5d8990f1560e6b52"
    assert {each.speeds for each in pack_epoch(manifests, MAX, 1, 0)} == {()}


def test_every_utterance_is_packed_as_often_as_without_speeds(manifests):
    wanted = {(m, row): int(repeat) for m, one in enumerate(manifests) for row, repeat in enumerate(one.repeat)}
    assert Counter(place for place, _ in drawn(pack(manifests))) == wanted


@pytest.mark.parametrize("capacity", [400, MAX])
def test_packs_count_utterances_as_resampled_and_never_exceed_their_capacity(manifests, capacity):
    for each in pack(manifests, capacity=capacity):
        sizes = [counted(manifests, place, speed) for place, speed in zip(each.rows, each.speeds, strict=True)]
        assert each.num_samples == sum(samples for samples, _ in sizes)
        assert each.positions == sum(positions for _, positions in sizes) <= capacity
        assert each.num_tokens == sum(manifests[m].num_tokens[row] for m, row in each.rows)


def test_the_factors_are_drawn_equally_often(manifests):
    counts = Counter(speed for _, speed in drawn(pack(manifests)))
    assert set(counts) == set(SPEEDS)
    assert max(counts.values()) - min(counts.values()) <= 3  # one for each language


def test_the_occurrences_of_a_repeated_utterance_differ_in_speed(manifests):
    speeds: dict = {}
    for place, speed in drawn(pack(manifests)):
        speeds.setdefault(place, set()).add(speed)
    assert sum(len(found) > 1 for found in speeds.values()) > 300


def test_an_utterance_that_would_no_longer_fit_keeps_its_speed(manifests):
    longest = max(int(one.positions.max()) for one in manifests)
    unchanged = [place for place, speed in drawn(pack(manifests, capacity=longest, speeds=(0.5,))) if speed == 1]
    everything = drawn(pack(manifests, capacity=longest, speeds=(0.5,)))
    assert 0 < len(unchanged) < len(everything)
    for place, speed in everything:
        assert (counted(manifests, place, 0.5)[1] > longest) == (speed == 1)


def test_speeds_follow_from_seed_and_epoch(manifests):
    same = [sorted(drawn(pack(manifests, *key))) for key in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert same[0] == same[1]
    assert same[0] != same[2] and same[0] != same[3] and same[2] != same[3]


def test_any_number_of_processes_packs_alike(manifests, monkeypatch):
    monkeypatch.setattr(packing, "SHARD", 200)
    alone, shared = (pack(manifests, num_processes=count) for count in (1, 3))
    assert list(alone) == list(shared)


def test_packs_remain_full_and_languages_resampled():
    data = [manifest("x", {"de": 6000, "es": 3000})]
    assert fill(pack(data), MAX) >= 0.99
    sampled = Counter(each.language for each in pack(data, language_sampling=0.0) for _ in each.rows)
    assert sampled == {"de": 4500, "es": 4500}


def test_a_slice_of_packs_keeps_their_speeds(manifests):
    packs = pack(manifests)
    assert list(packs[3:5]) == [packs[3], packs[4]]
    assert packs[np.array([4])][0] == packs[4]


def test_an_epoch_stores_one_more_byte_per_utterance(manifests):
    def stored(packs) -> int:
        per_utt = (packs.manifest, packs.row, *([] if packs.speed is None else [packs.speed]))
        return sum(values.itemsize for values in per_utt)

    assert stored(pack(manifests)) == stored(pack_epoch(manifests, MAX, 1, 0)) + 1


def test_without_fitting_utterances_there_are_no_packs():
    assert len(pack([manifest("x", {"de": 3})], capacity=5)) == 0
