"""Words of a segment with their times in the recording.

In: a decoded segment with the encoder's frames, an aligner. Out: `Word`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from zipperasr.align.aligner import Aligner
from zipperasr.score.normalise import split_units
from zipperasr.transcribe.transcript import Segment, Word


def words_of(text: str, unit: str) -> tuple[Word, ...]:
    """Divide a text at spaces, or into characters (graphemes) if its language is scored by them (unit `cer`)."""
    return tuple(Word(word) for word in split_units(text, unit))


def with_times(segment: Segment, words: Sequence[Word], frames: Tensor | None, aligner: Aligner) -> Segment:
    """Return the segment with its words; their times are inside it and never decrease.

    frames: (frames, encoder width) of the segment's speech. The words have no times if there are more characters than
    frames, as in a text that repeats itself.
    """
    times = None if frames is None else aligner.times(frames, [word.text for word in words])
    if times is None:
        return replace(segment, words=tuple(words))

    def inside(time_s: float) -> float:
        return round(min(segment.start_s + time_s, segment.end_s), 3)

    timed = (
        replace(word, start_s=inside(start_s), end_s=inside(end_s))
        for word, (start_s, end_s) in zip(words, times, strict=True)
    )
    return replace(segment, words=tuple(timed))
