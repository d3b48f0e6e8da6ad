"""Packing: complete, one language per pack, full, and a pure function of (seed, epoch)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from zipperasr.batching import packing
from zipperasr.batching.manifest import Manifest
from zipperasr.batching.packing import fill, global_batches, pack_epoch

MAX = 2048


def manifest(name: str, counts: dict[str, int], seed: int = 0, repeats: int = 1) -> Manifest:
    """Utterances with lengths as in read speech: 2 to 20 s, mostly above 10 s."""
    generator = np.random.default_rng(seed)
    languages = [language for language, count in counts.items() for _ in range(count)]
    seconds = np.clip(generator.gamma(6.0, 2.2, len(languages)), 1.0, 28.0)
    tokens = np.maximum(1, (seconds * 4).astype(np.int32))
    return Manifest(
        name,
        pa.table(
            {
                "language": languages,
                "num_samples": (seconds * 16_000).astype(np.int64),
                "num_tokens": tokens,
                "repeat": generator.integers(1, repeats + 1, len(languages)).astype(np.int32),
                "positions": (12 + np.ceil(seconds * 12.5) + tokens).astype(np.int32),
            }
        ),
    )


@pytest.fixture(scope="module")
def manifests():
    return [manifest("x", {"de": 700, "es": 90}, 1, repeats=3), manifest("y", {"de": 300, "ja": 11}, 2)]


def test_every_utterance_occurs_as_often_as_its_list_repeats_it(manifests):
    found = Counter(place for pack in pack_epoch(manifests, MAX, 1, 0) for place in pack.rows)
    wanted = {(m, row): int(repeat) for m, one in enumerate(manifests) for row, repeat in enumerate(one.repeat)}
    assert found == wanted
    assert max(wanted.values()) == 3


def test_a_pack_holds_one_language_and_at_most_the_maximum(manifests):
    for pack in pack_epoch(manifests, MAX, 1, 0):
        assert {manifests[m].languages[row] for m, row in pack.rows} == {pack.language}
        assert pack.positions == sum(manifests[m].positions[row] for m, row in pack.rows) <= MAX
        assert pack.num_tokens == sum(manifests[m].num_tokens[row] for m, row in pack.rows)
        assert pack.num_samples == sum(manifests[m].num_samples[row] for m, row in pack.rows)


def test_packs_mix_the_sets_of_a_language(manifests):
    packs = [pack for pack in pack_epoch(manifests, MAX, 1, 0) if pack.language == "de"]
    assert any(len({m for m, _ in pack.rows}) == 2 for pack in packs)


def test_the_same_seed_and_epoch_give_the_same_packs(manifests):
    assert list(pack_epoch(manifests, MAX, 1, 4)) == list(pack_epoch(manifests, MAX, 1, 4))


@pytest.mark.parametrize("other", [(1, 1), (2, 0)])
def test_another_epoch_or_seed_gives_different_packs(manifests, other):
    first, second = ({pack.rows for pack in pack_epoch(manifests, MAX, *key)} for key in ((1, 0), other))
    assert len(first & second) < 0.1 * len(first)


def test_shards_are_packed_alike_by_any_number_of_processes(manifests, monkeypatch):
    whole = Counter(place for pack in pack_epoch(manifests, MAX, 1, 0) for place in pack.rows)
    monkeypatch.setattr(packing, "SHARD", 200)
    alone, shared = (pack_epoch(manifests, MAX, 1, 0, num_processes=count) for count in (1, 3))
    assert list(alone) == list(shared)
    assert Counter(place for pack in alone for place in pack.rows) == whole


def test_packs_of_all_languages_are_shuffled(manifests):
    order = [pack.language for pack in pack_epoch(manifests, MAX, 1, 0)]
    assert order != sorted(order)


def test_utterances_beyond_the_maximum_are_skipped(manifests):
    rows = [place for pack in pack_epoch(manifests, 200, 1, 0) for place in pack.rows]
    assert rows
    assert all(manifests[m].positions[row] <= 200 for m, row in rows)


def test_packs_of_a_realistic_set_are_at_least_99_percent_full():
    packs = pack_epoch([manifest("x", {"de": 6000, "es": 3000})], MAX, 0, 0)
    assert fill(packs, MAX) >= 0.99
    assert fill(packs[:0], MAX) == 0.0


def test_without_fitting_utterances_there_are_no_packs():
    assert len(pack_epoch([manifest("x", {"de": 3})], 5, 0, 0)) == 0


def test_global_batches_are_whole_and_the_last_is_filled_from_the_front():
    assert global_batches(10, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert global_batches(8, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_fewer_packs_than_a_global_batch_needs_is_an_error():
    with pytest.raises(ValueError, match="3 packs of training data do not fill one global batch of 4; lower"):
        global_batches(3, 4)


@pytest.mark.parametrize(("exponent", "wanted"), [(1.0, (90, 10)), (0.5, (75, 25)), (0.0, (50, 50))])
def test_languages_are_sampled_by_their_share_to_a_power(exponent, wanted):
    data = [manifest("x", {"de": 90, "es": 10})]
    packs = pack_epoch(data, MAX, 1, 0, exponent)
    drawn = Counter({language: sum(len(p.rows) for p in packs if p.language == language) for language in ("de", "es")})
    assert (drawn["de"], drawn["es"]) == wanted
    spanish = Counter(place for pack in packs if pack.language == "es" for place in pack.rows)
    assert len(spanish) == 10 and max(spanish.values()) - min(spanish.values()) <= 1
    assert list(packs) == list(pack_epoch(data, MAX, 1, 0, exponent))
    if exponent < 1:
        first, second = (
            {place for pack in pack_epoch(data, MAX, 1, e, exponent) for place in pack.rows} for e in (0, 1)
        )
        assert first != second, "another epoch skips different utterances"
