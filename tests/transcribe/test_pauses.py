from __future__ import annotations

import numpy as np
import pytest

from tests.transcribe.sound import RATE, noise, silence, tones, with_pauses
from zipperasr.transcribe.pauses import cut_at_pauses


def blocks(samples, size_s=7.3):
    size = int(size_s * RATE)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@pytest.mark.parametrize("size_s", [0.5, 7.3, 100.0])
def test_pieces_cover_the_recording_and_are_cut_in_pauses(size_s):
    spoken = [3.1, 9.7, 6.2, 8.8, 12.0, 2.3, 14.9, 7.7, 5.5, 11.1]
    samples = with_pauses(spoken)
    pieces = list(cut_at_pauses(blocks(samples, size_s)))
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    assert [piece.start_s for piece in pieces[1:]] == [piece.end_s for piece in pieces[:-1]]
    assert all(len(piece.samples) <= 30 * RATE for piece in pieces)
    ends = np.cumsum([length + 0.4 for length in spoken])
    for piece in pieces[:-1]:
        assert any(end - 0.4 <= piece.end_s <= end for end in ends), piece.end_s


def test_noise_without_pauses_is_also_cut():
    pieces = list(cut_at_pauses(blocks(noise(95))))
    assert len(pieces) >= 4
    assert all(15 <= piece.end_s - piece.start_s <= 30 for piece in pieces[:-1])


def test_memory_does_not_depend_on_the_length_of_the_recording():
    held = []

    def hour():
        for number in range(360):
            held.append(number)
            yield noise(10, number)

    pieces = cut_at_pauses(hour())
    next(pieces)
    assert len(held) <= 4


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (silence(30), "silence: nothing above -60 dB of full scale"),
        (noise(30, level=1e-5), "silence: nothing above -60 dB of full scale"),
        (noise(0.02), "shorter than 0.1 s"),
        (silence(0), "shorter than 0.1 s"),
        (noise(0.2), ""),
        (tones(3), ""),
    ],
)
def test_recordings_without_speech_have_a_reason(samples, reason):
    (piece,) = cut_at_pauses([samples])
    assert piece.reason == reason
