"""Intervals: resampling the complete test set, known widths, resampling complete speakers."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from zipperasr.stats import bootstrap
from zipperasr.stats.bootstrap import FEWEST_SPEAKERS, RESAMPLINGS, resample, resampled_sums, times_drawn


@pytest.mark.parametrize("num", [1, 30, bootstrap.MOST_KEPT + 1])
def test_resampling_in_blocks_equals_resampling_at_once(num, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLINGS", 100)
    monkeypatch.setattr(bootstrap, "BLOCK_CELLS", 7 * num)
    blocks = list(times_drawn("test_y", num))
    at_once = np.random.default_rng(zlib.crc32(b"test_y")).multinomial(num, np.full(num, 1 / num), size=100)
    np.testing.assert_array_equal(np.concatenate(blocks), at_once)
    assert max(map(len, blocks)) <= 7
    bootstrap._kept_draws.cache_clear()


def test_the_first_row_is_measured_and_each_resampling_has_the_same_size():
    sums = resampled_sums("test_y", np.stack([np.ones(30), np.arange(30)], axis=1))
    assert sums.shape == (1 + RESAMPLINGS, 2)
    assert sums[0].tolist() == [30, 435]
    assert (sums[:, 0] == 30).all()
    assert sums[1:, 1].mean() == pytest.approx(435, rel=0.02)


def test_the_interval_is_binomial_for_utterances_of_one_word():
    errors = np.repeat([0, 1], [300, 100])[:, None]
    found = resample("test_x", errors, np.ones(400), np.arange(400))
    low, high = found.interval()
    reach = 1.96 * 100 * np.sqrt(0.25 * 0.75 / 400)
    assert (low, high) == pytest.approx((25 - reach, 25 + reach), abs=0.5)
    assert (found.by, found.num, found.rates[0, 0]) == ("utterance", 400, 25.0)


def test_a_difference_is_paired():
    """The second system has one more error in each utterance, and so in each resampling."""
    errors = np.random.default_rng(0).integers(0, 5, 50)
    found = resample("test_x", np.stack([errors, errors + 1], axis=1), np.full(50, 10), np.arange(50))
    assert found.difference(0, 1) == pytest.approx((10.0, 10.0, 10.0))
    assert found.interval(0)[1] - found.interval(0)[0] > 1


def test_complete_speakers_are_resampled_if_there_are_enough():
    """If a speaker's five utterances are all correct or all wrong, the interval is wider by sqrt(5)."""
    speakers = np.repeat(np.arange(40), 5)
    errors = (speakers % 2)[:, None]
    by_speaker = resample("test_x", errors, np.ones(200), speakers)
    by_utterance = resample("test_x", errors, np.ones(200), np.arange(200))
    assert (by_speaker.by, by_speaker.num) == ("speaker", 40)
    assert (by_utterance.by, by_utterance.num) == ("utterance", 200)
    widths = [np.diff(found.interval())[0] for found in (by_speaker, by_utterance)]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(5), rel=0.15)


@pytest.mark.parametrize(("num_speakers", "by"), [(FEWEST_SPEAKERS - 1, "utterance"), (FEWEST_SPEAKERS, "speaker")])
def test_few_speakers_are_not_resampled(num_speakers, by):
    speakers = np.arange(60) % num_speakers
    assert resample("test_x", np.ones((60, 1)), np.ones(60), speakers).by == by


def test_speakers_may_be_names_or_numbers():
    numbers = np.arange(60) % 12
    errors = np.random.default_rng(0).integers(0, 3, (60, 1))
    names = np.array([f"s{number:02d}" for number in numbers])
    found, wanted = (resample("test_x", errors, np.full(60, 4), speakers).rates for speakers in (names, numbers))
    np.testing.assert_array_equal(found, wanted)


def test_without_reference_units_there_is_no_rate():
    found = resample("test_x", np.ones((3, 2)), np.zeros(3), np.arange(3))
    assert np.isnan([*found.interval(), *found.difference(0, 1)]).all()


@pytest.mark.parametrize(("num_speakers", "fewest"), [(10, 0.80), (40, 0.88)])
def test_intervals_by_speaker_contain_the_true_value_more_often(num_speakers, fewest):
    """200 test sets; speakers have 20 utterances and log-normally distributed error rates (s.d. 0.5) around 20 %."""
    rng, held = np.random.default_rng(0), {"speaker": 0, "utterance": 0}
    speakers = np.repeat(np.arange(num_speakers), 20)
    for _ in range(200):
        units = rng.integers(5, 15, len(speakers))
        rates = np.minimum(0.2 * np.exp(rng.normal(0, 0.5, num_speakers)), 0.9)
        errors = rng.binomial(units, rates[speakers])[:, None]
        for ids in (speakers, np.arange(len(speakers))):
            found = resample("test_x", errors, units, ids)
            low, high = found.interval()
            held[found.by] += low <= 20 * np.exp(0.125) <= high
    assert held["speaker"] / 200 >= fewest
    assert held["utterance"] / 200 < 0.6
