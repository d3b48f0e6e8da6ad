"""A recording is cut in its pauses, into pieces that a model can read, and nothing is lost."""

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


def spoken(*parts: tuple[float, float], background: float = 0.0) -> np.ndarray:
    """Noise of `speech_s` seconds before each pause of `pause_s` seconds, over white noise of level `background`."""
    samples = np.concatenate([with_pauses([speech_s], pause_s) for speech_s, pause_s in parts])
    return samples + (noise(len(samples) / RATE + 1, 5, background)[: len(samples)] if background else 0)


def cuts(samples: np.ndarray, longest_s: float) -> list[float]:
    """Times in seconds at which a recording is cut."""
    return [piece.end_s for piece in list(cut_at_pauses([samples], longest_s))[:-1]]


@pytest.mark.parametrize("longest_s", [6.0, 8.0, 13.0, 30.0])
@pytest.mark.parametrize("background", [0.0, 1e-4, 5e-3])
def test_no_utterance_is_cut_if_there_are_pauses_whatever_the_background(longest_s, background):
    rng = np.random.default_rng(3)
    lengths = list(zip(rng.uniform(2.0, 5.0, 20), rng.uniform(0.3, 0.8, 20), strict=True))
    samples = spoken(*lengths, background=background)
    pieces = list(cut_at_pauses(blocks(samples), longest_s))
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    assert all(len(piece.samples) <= longest_s * RATE for piece in pieces)
    ends = np.cumsum([speech_s + pause_s for speech_s, pause_s in lengths])
    pauses = [(end - pause_s, end) for end, (_, pause_s) in zip(ends, lengths, strict=True)]
    for piece in pieces[:-1]:
        assert any(start - 0.02 <= piece.end_s <= end + 0.02 for start, end in pauses), piece.end_s


def test_a_longer_pause_is_preferred_to_a_hesitation():
    samples = spoken((10.0, 0.5), (8.0, 0.26), (3.0, 0.7), (12.0, 0.0))
    assert cuts(samples, 30.0) == [pytest.approx(22.1, abs=0.03)]


def test_an_early_pause_is_better_than_a_cut_through_a_word():
    assert cuts(spoken((1.2, 0.5), (7.5, 0.0)), 8.0) == [pytest.approx(1.45, abs=0.03)]
    assert cuts(spoken((12.0, 0.5), (20.0, 0.0)), 30.0) == [pytest.approx(12.25, abs=0.03)]


@pytest.mark.parametrize(("longest_s", "cut_s"), [(8.0, [3.2, 6.75]), (30.0, [])])
def test_models_of_short_utterances_get_one_after_the_other_even_if_more_would_fit(longest_s, cut_s):
    samples = spoken((3.0, 0.4), (3.1, 0.5), (2.9, 0.3), (1.0, 0.0))[: int(8 * RATE + 3000)]
    assert cuts(samples[: int(7.9 * RATE)], longest_s) == pytest.approx(cut_s[:1], abs=0.03)
    assert cuts(spoken((3.0, 0.4), (3.1, 0.5), (2.9, 0.26)), longest_s) == pytest.approx(cut_s, abs=0.03)


@pytest.mark.parametrize("longest_s", [8.0, 30.0])
def test_silence_is_not_cut_into_small_pieces(longest_s):
    (piece,) = cut_at_pauses([silence(7.5)], longest_s)
    assert piece.reason
    assert len(list(cut_at_pauses([silence(31)], longest_s))) <= 31 / longest_s + 2


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
