"""Output formats: plain text, JSON, subtitles (SubRip, WebVTT) and NIST's trn.

Each formats an id and its `Transcript` as text that ends in a newline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict

from zipperasr.transcribe.transcript import Segment, Transcript


def txt(name: str, transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def as_json(name: str, transcript: Transcript) -> str:
    """All fields but the tokens of segments."""
    fields = {"id": name, **asdict(transcript)}
    for segment in fields["segments"]:
        del segment["tokens"]
    return json.dumps(fields, ensure_ascii=False) + "\n"


def srt(name: str, transcript: Transcript) -> str:
    """SubRip: numbered blocks, a comma before the milliseconds."""
    blocks = [
        f"{number}\n{_time(segment.start_s, ',')} --> {_time(segment.end_s, ',')}\n{segment.text}\n"
        for number, segment in enumerate(_spoken(transcript), 1)
    ]
    return "\n".join(blocks)


def vtt(name: str, transcript: Transcript) -> str:
    """WebVTT, with `&`, `<` and `>` escaped."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [
        f"\n{_time(segment.start_s, '.')} --> {_time(segment.end_s, '.')}\n{segment.text.translate(escapes)}\n"
        for segment in _spoken(transcript)
    ]
    return "WEBVTT\n" + "".join(cues)


def trn(name: str, transcript: Transcript) -> str:
    """sclite's trn: the text, then the id in parentheses; the id must not contain spaces or parentheses."""
    plain = re.sub(r"[()\s]", "_", name)
    return f"{transcript.text} ({plain})\n"


FORMATS: dict[str, Callable[[str, Transcript], str]] = {
    "txt": txt, "json": as_json, "srt": srt, "vtt": vtt, "trn": trn
}  # fmt: skip


def _spoken(transcript: Transcript) -> list[Segment]:
    return [segment for segment in transcript.segments if segment.text]


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
