"""Times of a segment's words in the recording.

In: a segment with its words, the encoder's frames, an aligner. Out: the segment with their times.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from zipperasr.align.aligner import CONFIG, Aligner
from zipperasr.cli import log
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.transcribe.transcript import Segment


def load_aligner(opened: Pretrained, needed: bool) -> Aligner | None:
    """Return the model's aligner, on its device; None if it has none, or one that cannot be used.

    needed: raise FileNotFoundError or ValueError instead.
    """
    if not needed and not Aligner.is_in(opened.directory):
        return None
    try:
        aligner = Aligner.load(opened.directory)
        if aligner.config.width != opened.model.encoder.width:
            wanted = f"wanted the encoder's, {opened.model.encoder.width}; run `zipperasr train-aligner` again"
            raise ValueError(f"{opened.directory / CONFIG}: width: got {aligner.config.width}, {wanted}")
    except (ValueError, OSError) as error:
        if needed:
            raise
        log(f"{error}; it is not used")
        return None
    return aligner.to(next(opened.model.parameters()).device)


def with_times(segment: Segment, frames: Tensor | None, aligner: Aligner) -> Segment:
    """Return the segment with the times of its words, which are inside it and never decrease.

    frames: (frames, encoder width) of the segment's speech. The words have no times if there are more characters than
    frames, as in a text that repeats itself.
    """
    times = None if frames is None else aligner.times(frames, [word.text for word in segment.words])
    if times is None:
        return segment

    def inside(time_s: float) -> float:
        return round(min(segment.start_s + time_s, segment.end_s), 3)

    timed = (
        replace(word, start_s=inside(start_s), end_s=inside(end_s))
        for word, (start_s, end_s) in zip(segment.words, times, strict=True)
    )
    return replace(segment, words=tuple(timed))
