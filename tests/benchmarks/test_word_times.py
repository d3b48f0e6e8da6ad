"""Only words that begin or end where espeak-ng reports a word are compared."""

from __future__ import annotations

import numpy as np

from local.mini.word_events import SpokenWord, TimedSentence


def test_words_are_compared_by_their_place_in_the_text(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    from word_times import _shifts, report

    # "of the" is spoken as one word
    words = (SpokenWord(0, 0.0, 0.2), SpokenWord(4, 0.3, 0.7), SpokenWord(11, 0.7, 1.0))
    spoken = TimedSentence("x", "en", "One, of the two.", 1.0, tuple(words))
    times = np.array([(0.01, 0.2), (0.35, 0.4), (0.4, 0.6), (0.7, 1.1)])
    found = list(_shifts(["one", "of", "the", "two"], times, spoken))
    np.testing.assert_allclose(found, [(0.01, 0.0), (0.05, np.nan), (np.nan, -0.1), (0.0, 0.1)], atol=1e-9)
    assert "| en | 3 | 20 | 46 | 10 | 67 | 100 | 0 |" in report({"en": found})
