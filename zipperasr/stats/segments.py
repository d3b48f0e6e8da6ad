"""The segments of NIST's matched-pairs test: stretches of a test set in which only one another's errors are near.

In: two systems' `Audit`s of the same references. Out: both systems' errors per segment. A segment ends where both
systems have two reference words in a row right with nothing inserted between, and at the end of its utterance; only
segments with an error count. sc_stats' rule (Gillick and Cox, ICASSP 1989, with two words of good context).
"""

from __future__ import annotations

import numpy as np

from zipperasr.stats.utterance_errors import Audit


def segment_errors(one: Audit, other: Audit) -> np.ndarray:
    """Errors in each segment where at least one system has any: (segments, 2).

    Utterances become slots: a gap, a word, a gap, ..., a word, a gap. Insertions fall into gaps.
    """
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
    """True for words: each utterance begins with a gap."""
    sizes = np.diff(first_slot)
    return (np.arange(first_slot[-1]) - np.repeat(first_slot[:-1], sizes)) % 2 == 1


def _errors_by_slot(audit: Audit, first_slot: np.ndarray) -> np.ndarray:
    """(slots,): 0 or 1 in a word, number of insertions in a gap."""
    is_word = audit.operations != ord("I")
    words_before = np.cumsum(is_word) - is_word  # within the test set
    in_utterance = words_before - np.concatenate([[0], np.cumsum(audit.units)])[audit.utterances]
    slot = first_slot[audit.utterances] + 2 * in_utterance + is_word
    return np.bincount(slot[audit.operations != ord("C")], minlength=first_slot[-1])
