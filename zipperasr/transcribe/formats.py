"""Output formats: plain text, JSON, subtitles (SubRip, WebVTT), NIST's trn and ctm, Praat's TextGrid.

Each formats an id and its `Transcript` as text that ends in a newline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

from zipperasr.align.spelling import characters
from zipperasr.transcribe.transcript import Segment, Transcript

LEAST_S = 0.02  # of a word; a frame of the aligner


def txt(name: str, transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def as_json(name: str, transcript: Transcript) -> str:
    """All fields but the tokens of segments."""
    fields = {"id": name, **asdict(transcript)}
    fields["segments"] = [segment.as_fields() for segment in transcript.segments]
    return json.dumps(fields, ensure_ascii=False) + "\n"


def srt(name: str, transcript: Transcript, by_word: bool = False) -> str:
    """SubRip: numbered blocks, a comma before the milliseconds."""
    blocks = [
        f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{cue.text}\n"
        for number, cue in enumerate(_cues(transcript, by_word), 1)
    ]
    return "\n".join(blocks)


def vtt(name: str, transcript: Transcript, by_word: bool = False) -> str:
    """WebVTT, with `&`, `<` and `>` escaped."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [
        f"\n{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{cue.text.translate(escapes)}\n"
        for cue in _cues(transcript, by_word)
    ]
    return "WEBVTT\n" + "".join(cues)


def trn(name: str, transcript: Transcript) -> str:
    """sclite's trn: the text, then the id in parentheses; the id must not contain spaces or parentheses."""
    plain = re.sub(r"[()\s]", "_", name)
    return f"{transcript.text} ({plain})\n"


def ctm(name: str, transcript: Transcript) -> str:
    """NIST's ctm: recording, channel, start, duration, word, and its confidence if it is known."""
    plain = re.sub(r"\s", "_", name)
    lines = (
        f"{plain} 1 {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.text}"
        + ("" if word.confidence is None else f" {word.confidence:.3f}")
        for word in _cues(transcript, by_word=True)
    )
    return "".join(f"{line}\n" for line in lines)


def textgrid(name: str, transcript: Transcript) -> str:
    """Praat's TextGrid with one tier, `words`; intervals without a word are empty."""
    intervals: list[tuple[int, int, str]] = []  # in milliseconds, as written: none is empty
    end = 0
    for word in _cues(transcript, by_word=True):
        start = max(end, round(word.start_s * 1000))
        if start > end:
            intervals.append((end, start, ""))
        end = max(start + 1, round(word.end_s * 1000))
        intervals.append((start, end, word.text.replace('"', '""')))
    duration = round(transcript.duration_s * 1000)
    if duration > end:
        intervals.append((end, duration, ""))
    span = f"xmin = 0\nxmax = {max(end, duration) / 1000:.3f}\n"
    head = (
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n{span}tiers? <exists>\nsize = 1\nitem []:\nitem [1]:\n'
    )
    tier = f'class = "IntervalTier"\nname = "words"\n{span}intervals: size = {len(intervals)}\n'
    lines = (
        f'intervals [{number}]:\nxmin = {start / 1000:.3f}\nxmax = {stop / 1000:.3f}\ntext = "{text}"\n'
        for number, (start, stop, text) in enumerate(intervals, 1)
    )
    return head + tier + "".join(lines)


FORMATS: dict[str, Callable[[str, Transcript], str]] = {
    "txt": txt, "json": as_json, "srt": srt, "vtt": vtt, "trn": trn
}  # fmt: skip

# With the times of words: one cue per word in subtitles, and formats of words.
BY_WORD: dict[str, Callable[[str, Transcript], str]] = {
    "srt": partial(srt, by_word=True), "vtt": partial(vtt, by_word=True), "ctm": ctm, "textgrid": textgrid
}  # fmt: skip


class _Cue(NamedTuple):
    """A part of the text with its times."""

    start_s: float
    end_s: float
    text: str
    confidence: float | None = None


def _cues(transcript: Transcript, by_word: bool) -> Iterator[_Cue]:
    for segment in _spoken(transcript):
        if by_word:
            yield from _words(segment)
        else:
            yield _Cue(segment.start_s, segment.end_s, segment.text)


def _words(segment: Segment) -> Iterator[_Cue]:
    """Yield the words of a segment, all with a duration: punctuation that has none joins its neighbour.

    If the words have no times, the segment is divided equally among them.
    """
    each_s = (segment.end_s - segment.start_s) / max(1, len(segment.words))
    cues: list[_Cue] = []
    for place, word in enumerate(segment.words):
        start_s, end_s = word.start_s, word.end_s
        if start_s is None or end_s is None:
            start_s = segment.start_s + place * each_s
            end_s = start_s + each_s
        cue = _Cue(start_s, end_s, word.text, word.confidence)
        if cues and _joins(cue):
            cues[-1] = cues[-1]._replace(text=cues[-1].text + cue.text)
        elif cues and _joins(cues[-1]):
            cues[-1] = cue._replace(text=cues[-1].text + cue.text)
        else:
            cues.append(cue)
    yield from _apart(cues, segment, min(LEAST_S, each_s))


def _joins(cue: _Cue) -> bool:
    return cue.end_s <= cue.start_s and not any(characters(cue.text))


def _apart(cues: list[_Cue], segment: Segment, least_s: float) -> list[_Cue]:
    """Give every cue at least this duration, inside the segment and without overlap, and move as few as possible."""
    free_s = segment.start_s
    for place, cue in enumerate(cues):
        start_s = max(cue.start_s, free_s)
        free_s = max(cue.end_s, start_s + least_s)
        cues[place] = cue._replace(start_s=start_s, end_s=free_s)
    free_s = segment.end_s
    for place, cue in reversed(list(enumerate(cues))):
        end_s = min(cue.end_s, free_s)
        free_s = min(cue.start_s, end_s - least_s)
        cues[place] = cue._replace(start_s=free_s, end_s=end_s)
    return cues


def _spoken(transcript: Transcript) -> list[Segment]:
    return [segment for segment in transcript.segments if segment.text]


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
