"""The key-value cache of MergedDecoder is bounded and keeps what is in use."""

from __future__ import annotations

import random

import pytest
import torch

from tests.model import tiny
from zipperasr.model.backbones.merged_decoder import CACHE_BLOCK, MergedDecoder

LIMIT = 16 * CACHE_BLOCK


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("backbones")
    tiny.write_backbones(directory)
    return tiny.align_model(tiny.model_config(directory))


@pytest.fixture
def llm(model) -> MergedDecoder:
    return model.llm_family.incremental(model.causal_lm)


def shape(llm: MergedDecoder) -> tuple[int, int]:
    return llm._keys.shape[1], llm._keys.shape[3]


@torch.inference_mode()
def add(llm: MergedDecoder, rows: int, capacity: int, length: int = 2) -> torch.Tensor:
    embeddings = torch.randn(rows * length, llm.shape.width, generator=torch.Generator().manual_seed(rows))
    return llm.add(embeddings, [length] * rows, capacity, LIMIT)


def test_the_cache_takes_other_proportions_when_both_together_exceed_the_limit(llm):
    add(llm, 16, CACHE_BLOCK)
    assert shape(llm) == (16, CACHE_BLOCK)
    llm.keep([])
    add(llm, 2, 8 * CACHE_BLOCK)
    assert shape(llm) == (2, 8 * CACHE_BLOCK)
    llm.keep([])
    add(llm, 2, CACHE_BLOCK)  # fits
    assert shape(llm) == (2, 8 * CACHE_BLOCK)


def test_a_single_long_sequence_exceeds_the_limit_only_while_it_lasts(llm):
    add(llm, 1, 20 * CACHE_BLOCK)
    assert shape(llm) == (1, 20 * CACHE_BLOCK)
    llm.keep([])
    add(llm, 1, 1)
    assert shape(llm) == (1, CACHE_BLOCK)


def test_any_sequence_of_shapes_stays_within_the_limit_or_what_was_asked_for(llm):
    draw, seen = random.Random(0), set()
    for _ in range(60):
        llm.keep([])
        capacity = draw.randint(1, 16) * CACHE_BLOCK + draw.choice([0, -CACHE_BLOCK + 1, -1])
        rows = max(1, min(draw.randint(1, 16), LIMIT // capacity))
        add(llm, rows, capacity)
        seen.add(shape(llm))
        has_rows, has_positions = shape(llm)
        assert has_rows >= rows and has_positions >= capacity and has_rows * has_positions <= LIMIT
    assert len(seen) > 5


def test_positions_are_rounded_up_only_within_the_limit(llm):
    add(llm, 15, CACHE_BLOCK + 1)
    assert shape(llm) == (15, LIMIT // 15)
    llm.keep([])
    for rows in range(1, 16):
        add(llm, 1, CACHE_BLOCK + 1)
        assert llm.rows == rows and rows * (CACHE_BLOCK + 1) <= shape(llm)[0] * shape(llm)[1] <= LIMIT


@torch.inference_mode()
def test_rows_in_use_survive_a_cache_with_more_rows_and_fewer_positions(model, llm):
    """As when a long sequence has ended and short ones start: hidden states equal those of a new cache."""
    other = model.llm_family.incremental(model.causal_lm)
    for one, first_capacity in ((llm, 8 * CACHE_BLOCK), (other, CACHE_BLOCK)):
        add(one, 2, first_capacity, length=5)
        add(one, 14, CACHE_BLOCK)
    assert shape(llm) == shape(other) == (16, CACHE_BLOCK)
    tokens = torch.arange(16) + 4
    assert torch.equal(llm.step(tokens), other.step(tokens))


def test_the_cache_stays_as_it_was_if_memory_runs_out(llm, monkeypatch):
    resize, left = MergedDecoder._resized, [1]

    def sometimes(self, *arguments):
        if not left:
            raise RuntimeError("out of memory")
        left.pop()
        return resize(self, *arguments)

    before = llm._keys.shape, llm._values.shape
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="out of memory"):
        patched.setattr(MergedDecoder, "_resized", sometimes)
        llm._fit_cache(before[0][1] + 1, before[0][3] + 1, 10**6)
    assert (llm._keys.shape, llm._values.shape) == before


@torch.inference_mode()
@pytest.mark.parametrize("moved", [False, True])
def test_a_sequence_that_is_not_a_number_leaves_nothing_in_its_row(model, llm, moved):
    """The next sequence of the row is shorter, and is decoded beside a longer one."""
    other = model.llm_family.incremental(model.causal_lm)
    llm.add(torch.full((40, llm.shape.width), torch.nan), [40], CACHE_BLOCK)
    for one in (llm, other):
        add(one, 2, CACHE_BLOCK, length=30)
    if moved:
        llm.keep([2, 1])
    else:
        llm.keep([0])
        llm.keep([])
        other.keep([])
        for one in (llm, other):
            add(one, 2, CACHE_BLOCK, length=3)
            add(one, 1, CACHE_BLOCK, length=60)
    order = [1, 0] if moved else range(other.rows)
    tokens = torch.arange(other.rows) + 4
    torch.testing.assert_close(llm.step(tokens[order])[order], other.step(tokens))
