"""Transcripts compared but for the last bits of probabilities, which depend on the size of the batch."""

from __future__ import annotations

from dataclasses import replace

from zipperasr.transcribe import Segment, Transcript


def without_rounding(transcript: Transcript) -> Transcript:
    """The transcript without probabilities, after a check that they are probabilities."""
    return replace(transcript, segments=tuple(map(_without_probabilities, transcript.segments)))


def _without_probabilities(segment: Segment) -> Segment:
    assert all(0 <= word.confidence <= 1 for word in segment.words)
    words = tuple(replace(word, confidence=None) for word in segment.words)
    tokens = tuple(token._replace(logprob=0.0) for token in segment.tokens)
    return replace(segment, words=words, tokens=tokens, avg_logprob=None)
