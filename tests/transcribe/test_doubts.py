"""Reasons to doubt a segment's text."""

from __future__ import annotations

import pytest

from zipperasr.transcribe.doubts import doubts
from zipperasr.transcribe.transcript import Segment

FOREIGN, IMPROBABLE = "not in the language's script", "low probability according to the model"


@pytest.mark.parametrize(
    ("text", "note", "avg_logprob", "reasons"),
    [
        ("guten Tag", "", -0.2, []),
        ("guten Tag", "", None, []),
        ("guten guten", "a loop, cut after its first repetition", -0.2, ["a loop, cut after its first repetition"]),
        ("добрый день", "", -0.2, [FOREIGN]),
        ("guten Tag", "", -1.1, [IMPROBABLE]),
        ("добрый", "a loop", -2.0, ["a loop", FOREIGN, IMPROBABLE]),
        ("", "silence", -2.0, []),
    ],
)
def test_doubts_of_a_german_segment(text, note, avg_logprob, reasons):
    assert doubts(Segment(0.0, 1.0, text, note, avg_logprob=avg_logprob), "de") == reasons
