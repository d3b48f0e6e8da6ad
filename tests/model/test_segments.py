"""Segments and positions: packing counts as many positions as encoder and projector produce."""

from __future__ import annotations

import random

import pytest
import torch

from tests.model import tiny
from zipperasr.audio.segments import cut, cut_all, mel_frames, num_positions, segment_frames
from zipperasr.batching.batch import Speech

SAMPLES = [1, 159, 160, 161, 319, 320, 321, 1279, 1280, 1281, 16_000, 16_001, 35 * 16_000]


@pytest.fixture(scope="module")
def model(config):
    return tiny.align_model(config)


@torch.no_grad()
@pytest.mark.parametrize("chunk_s", [None, 0.02, 0.5, 1.0, 8.0])
def test_positions_equal_the_output_length_of_encoder_and_projector(model, chunk_s):
    draw = random.Random(0)
    counts = [n for n in SAMPLES if chunk_s != 0.02 or n < 20_000] + [draw.randrange(1, 40_000) for _ in range(20)]
    lengths = tuple(mel_frames(count) for count in counts)
    speech = Speech(tiny.random_mel(sum(lengths)), lengths, ("de",) * len(lengths))
    embedded, delivered = model.embed_speech(speech, None if chunk_s is None else segment_frames(chunk_s))
    assert delivered == [num_positions(count) for count in counts]
    assert len(embedded) == sum(delivered)


def test_a_second_has_12_and_a_half_positions():
    assert num_positions(16_000 * 8) == 100
    assert num_positions(16_000 * 30) == 375


def test_segments_are_consecutive_complete_and_do_not_overlap():
    assert cut(3500, 3000) == [3000, 500]
    assert cut(3000, 3000) == [3000]
    assert cut(1, 3000) == [1]
    assert cut_all([250, 100, 99], 100) == ([100, 100, 50, 100, 99], [3, 1, 1])


@pytest.mark.parametrize("chunk_s", [0.0, -1.0, 0.01, 1.01])
def test_a_chunk_of_zero_or_an_odd_number_of_frames_is_an_error(chunk_s):
    with pytest.raises(ValueError, match=rf"chunk of {chunk_s} s: wanted a positive multiple of 0\.02 s"):
        segment_frames(chunk_s)


def test_an_odd_chunk_in_the_configuration_is_an_error(backbones):
    with pytest.raises(ValueError, match=r"chunk of 0\.33 s"):
        tiny.model_config(backbones, train_chunk_s=(0.33,))
    with pytest.raises(ValueError, match=r"chunk of 1\.01 s"):
        tiny.model_config(backbones, decode_chunk_s=1.01)
