"""Paired significance tests: the four tests of NIST's sc_stats between two systems on one test set.

In: two `Audit`s of the same references. Out: one `PairedTest` each, with the statistic, a two-tailed p-value (scipy's)
and the verdict of sc_stats (SCTK 2.4.10), whose approximations docs/significance.md describes. The first two tests
count segments and sentences, the last two compare error rates per speaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from zipperasr.stats.utterance_errors import Audit

FIRST, SAME, SECOND = -1, 0, 1  # which system is better
EQUAL_RATES = 0.005  # per cent: rates of a speaker that differ by at most this count as equal

# sc_stats' own decision rules
ALPHA = 0.05
CRITICAL_Z = 1.960  # two-tailed, 95 %
MOST_EXACT = 20  # trials; above, the binomial distribution is approximated
_Z_TABLE = np.arange(515) / 100  # the values of z in its table of the normal distribution


@dataclass(frozen=True)
class PairedTest:
    """The result of one test."""

    statistic: float
    num: int  # number of segments, discordant sentences or speakers
    p_value: float
    sc_stats_p: float  # as sc_stats computes it
    sc_stats_verdict: int  # FIRST | SAME | SECOND


def mapsswe(one: Audit, other: Audit) -> PairedTest:
    """Matched pairs: Z statistic of the mean difference in errors per segment.

    Z = 0 if the differences have no variance: one segment, or all alike.
    """
    segments = segment_errors(one, other)
    difference = segments[:, 0] - segments[:, 1]
    num, z = len(difference), 0.0
    if num > 1 and np.ptp(difference):
        z = float(difference.mean() / (difference.std(ddof=1) / math.sqrt(num)))  # same order of rounding as sc_stats
    verdict = int(np.sign(z)) if abs(z) > CRITICAL_Z else SAME
    return PairedTest(z, num, 2 * float(stats.norm.sf(abs(z))), _table_p(z), verdict)


def mcnemar(one: Audit, other: Audit) -> PairedTest:
    """Sentences that only one system has right, tested against a fair coin; the statistic is the smaller count."""
    wrong, other_wrong = one.errors > 0, other.errors > 0
    only_one, only_other = int((wrong & ~other_wrong).sum()), int((other_wrong & ~wrong).sum())
    return _coin(only_one, only_other, better=SECOND if only_one > only_other else FIRST)


def sign(one: Audit, other: Audit) -> PairedTest:
    """Speakers for whom one system has the lower error rate, tested against a fair coin; ties are split equally.

    sc_stats names the system with the lower mean rate over speakers, even if most speakers have lower rates with the
    other.
    """
    difference, better = _by_speaker(one, other)
    equal = int((np.abs(difference) <= EQUAL_RATES).sum())
    plus = int((difference > EQUAL_RATES).sum()) + equal // 2
    return _coin(plus, len(difference) - plus, better)


def wilcoxon(one: Audit, other: Audit) -> PairedTest:
    """Wilcoxon's signed ranks over speakers as a Z statistic, without correction for ties; equal rates alternate.

    The p-value is scipy's, exact if the ranks allow it.
    """
    difference, better = _by_speaker(one, other)
    num, rank, equal = len(difference), stats.rankdata(np.abs(difference)), np.abs(difference) <= EQUAL_RATES
    is_plus = difference > EQUAL_RATES
    is_plus[equal] = np.arange(equal.sum()) % 2 == 0
    fewer_plus = is_plus.sum() < num - is_plus.sum()
    w = rank[is_plus if fewer_plus else ~is_plus].sum()
    z = float((w - num * (num + 1) / 4) / math.sqrt(num * (num + 1) * (2 * num + 1) / 24))
    verdict = (-better if fewer_plus else better) if abs(z) > CRITICAL_Z else SAME
    p_value = 1.0 if equal.all() else stats.wilcoxon(np.where(equal, 0, difference), zero_method="zsplit").pvalue
    return PairedTest(z, num, float(p_value), _table_p(z), verdict)


TESTS: dict[str, Callable[[Audit, Audit], PairedTest]] = {
    "mapsswe": mapsswe,
    "mcnemar": mcnemar,
    "sign": sign,
    "wilcoxon": wilcoxon,
}


def _coin(heads: int, tails: int, better: int) -> PairedTest:
    fewer, trials = min(heads, tails), heads + tails
    p_value = float(stats.binomtest(fewer, trials).pvalue) if trials else 1.0
    approximate = _approximate_binomial_p(fewer, trials)
    return PairedTest(fewer, trials, p_value, approximate, better if approximate < ALPHA else SAME)


def _by_speaker(one: Audit, other: Audit) -> tuple[np.ndarray, int]:
    """Difference of rates per speaker, higher mean minus lower mean: (speakers,); and which system is better.

    With equal means the second system's counts as the higher. Speakers without reference words have a rate of 0.
    """
    rates = [_speaker_rates(audit) for audit in (one, other)]
    total, other_total = (np.cumsum(rate)[-1] for rate in rates)  # plain sums, since sc_stats' rounding decides ties
    return (rates[0] - rates[1], SECOND) if total > other_total else (rates[1] - rates[0], FIRST)


def _speaker_rates(audit: Audit) -> np.ndarray:
    """Error rates in per cent: (speakers,), in the order of their first utterances."""
    errors, units = (np.bincount(audit.speakers, counts) for counts in (audit.errors, audit.units))
    return np.divide(errors, units, out=np.zeros_like(errors), where=units > 0) * 100.0


def segment_errors(one: Audit, other: Audit) -> np.ndarray:
    """Errors in each segment in which at least one system has any: (segments, 2).

    A segment ends where both systems have two consecutive reference words right with nothing inserted between them,
    and at the end of its utterance (Gillick and Cox, ICASSP 1989, with two words of good context).
    """
    # An utterance is a row of slots: gap, word, gap, ..., word, gap. Insertions are counted in gaps.
    first_slot = np.concatenate([[0], np.cumsum(2 * one.units + 1)])
    errors = np.stack([_errors_by_slot(audit, first_slot) for audit in (one, other)], axis=1)
    good = errors.sum(1) == 0
    ends = np.zeros(len(good), dtype=bool)
    ends[1:-1] = good[:-2] & good[1:-1] & good[2:]
    ends[_word_slots(first_slot)] = False  # a gap between two words ends a segment, not a word between two gaps
    ends[first_slot[:-1]] = True
    segment = np.cumsum(ends)
    totals = np.stack([np.bincount(segment, column) for column in errors.T], axis=1).astype(int)
    return totals[totals.any(axis=1)]


def _word_slots(first_slot: np.ndarray) -> np.ndarray:
    """True for words; the first slot of an utterance is a gap."""
    sizes = np.diff(first_slot)
    return (np.arange(first_slot[-1]) - np.repeat(first_slot[:-1], sizes)) % 2 == 1


def _errors_by_slot(audit: Audit, first_slot: np.ndarray) -> np.ndarray:
    """(slots,): 0 or 1 for a word, the number of insertions for a gap."""
    is_word = audit.operations != ord("I")
    words_before = np.cumsum(is_word) - is_word  # within the test set
    in_utterance = words_before - np.concatenate([[0], np.cumsum(audit.units)])[audit.utterances]
    slot = first_slot[audit.utterances] + 2 * in_utterance + is_word
    return np.bincount(slot[audit.operations != ord("C")], minlength=first_slot[-1])


def _table_p(z: float) -> float:
    """Two-tailed p-value from sc_stats' table of the normal distribution: steps of 0.01, no interpolation."""
    step = int(np.searchsorted(_Z_TABLE, abs(z), side="right")) - 1
    return 2 * (1 - round(float(stats.norm.cdf(_Z_TABLE[step])), 7))


def _approximate_binomial_p(fewer: int, trials: int) -> float:
    """sc_stats' two-tailed p-value of a fair coin with `fewer` outcomes on its rarer side; 1 if the sides are equal.

    Above MOST_EXACT trials sc_stats halves `fewer` before the normal approximation, which makes any inequality
    significant.
    """
    if 2 * fewer == trials:
        return 1.0
    if trials <= MOST_EXACT:
        return 2 * float(stats.binom.cdf(fewer, trials, 0.5))
    return _table_p((fewer / 2 - trials / 2) / math.sqrt(trials / 4))
