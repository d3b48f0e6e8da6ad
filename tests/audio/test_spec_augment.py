"""SpecAugment: masks of the drawn widths, filled with the mean; nothing else changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from zipperasr.audio.spec_augment import NO_MASKS, Masks, MaskSizes, draw_masks, mask

SIZES = MaskSizes(freq_masks=2, freq_width=27, time_masks=3, time_width=70, time_share=0.2)


def drawn(num_frames: int = 600, mel_bins: int = 80, sizes: MaskSizes = SIZES, count: int = 3000) -> list[Masks]:
    rng = np.random.default_rng(0)
    return [draw_masks(num_frames, mel_bins, sizes, rng) for _ in range(count)]


def widths(spans) -> Counter:
    return Counter(stop - start for start, stop in spans)


def test_masks_have_the_mean_of_the_utterance_and_everything_else_stays():
    mel = torch.randn(100, 80)
    masks = Masks(bins=((3, 10), (70, 80)), frames=((0, 5), (40, 41)))
    inside = torch.zeros(100, 80, dtype=torch.bool)
    inside[:, 3:10] = inside[:, 70:] = inside[:5] = inside[40] = True
    masked = mask(mel.clone(), masks)
    assert torch.equal(masked[~inside], mel[~inside])
    assert torch.equal(masked[inside], mel.mean().expand(int(inside.sum())))


def test_without_masks_nothing_changes():
    mel = torch.randn(20, 8)
    assert mask(mel, NO_MASKS) is mel
    assert torch.equal(mask(mel.clone(), Masks(((4, 4),), ((7, 7),))), mel)


def test_there_are_as_many_masks_as_asked_for():
    for masks in drawn(count=10):
        assert (len(masks.bins), len(masks.frames)) == (2, 3)


def test_every_width_up_to_the_largest_is_equally_likely():
    masks = drawn()
    for spans, widest in (([s for m in masks for s in m.bins], 27), ([s for m in masks for s in m.frames], 70)):
        found = widths(spans)
        assert set(found) == set(range(widest + 1))
        expected = len(spans) / (widest + 1)
        assert all(abs(count - expected) < 6 * expected**0.5 for count in found.values())


def test_masks_reach_both_edges_and_never_beyond():
    masks = drawn()
    for spans, size in (([s for m in masks for s in m.bins], 80), ([s for m in masks for s in m.frames], 600)):
        assert min(start for start, _ in spans) == 0
        assert max(stop for _, stop in spans) == size


@pytest.mark.parametrize(("num_frames", "widest"), [(600, 70), (100, 20), (9, 1), (4, 0), (1, 0)])
def test_a_time_mask_covers_at_most_its_share_of_the_utterance(num_frames, widest):
    found = widths(span for masks in drawn(num_frames) for span in masks.frames)
    assert max(found) == widest


def test_few_bins_bound_the_width_of_masks():
    assert max(widths(span for masks in drawn(mel_bins=8) for span in masks.bins)) == 8
