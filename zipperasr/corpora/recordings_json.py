"""Parse the JSON of corpora of long recordings: WenetSpeech and MSR-86K.

`{"audios": [{"aid": "Y01", "path": "audio/Y01.opus", "segments": [{"sid": "Y01_S0", "begin_time": 0.5,
"end_time": 3.1, "text": "..."}]}]}`. The files have gigabytes, so recordings are decoded one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

from zipperasr.text_lines import check_text

OPENING = re.compile(r'"audios"\s*:\s*\[')
FILLING = re.compile(r"[\s,]*")
CHUNK_CHARACTERS = 1 << 20


def iter_recordings(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of the list "audios". Raises ValueError if the file is truncated or has another format."""
    decode = json.JSONDecoder().raw_decode
    with path.open(encoding="utf-8-sig") as stream:
        buffer, position = _opening(stream, path)
        count = 0
        while True:
            position = FILLING.match(buffer, position).end()
            if buffer.startswith("]", position):
                return
            try:
                recording, position = decode(buffer, position)
            except RecursionError as error:
                raise ValueError(f"{path}: recording {count + 1}: nested too deeply; download it again") from error
            except json.JSONDecodeError as error:
                buffer, position = buffer[position:], 0
                more = _read(stream, path, max(CHUNK_CHARACTERS, len(buffer)))
                if not more:
                    raise ValueError(
                        f"{path}: not complete JSON after recording {count} ({error.msg}); download it again"
                    ) from error
                buffer += more
                continue
            if not isinstance(recording, dict):
                raise ValueError(f"{path}: recording {count + 1}: got {str(recording)[:40]!r}, wanted an object")
            count += 1
            yield recording


def segments_of(recording: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yield the segments of a recording. Raises ValueError unless they are a list of objects."""
    segments = recording.get("segments", [])
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError(f"{where}: got segments {str(segments)[:40]!r}, wanted a list of objects")
    yield from segments


def text_of(segment: dict[str, Any], keys: Sequence[str], where: str) -> str:
    """Return the first of `keys` that has a text; empty if none has."""
    text = next((segment[key] for key in keys if segment.get(key)), "")
    if not isinstance(text, str):
        raise ValueError(f"{where}: got text {str(text)[:40]!r}, wanted a string")
    return check_text(text, where)


def segment_times(segment: dict[str, Any], where: str) -> tuple[float, float]:
    """Return begin and end of a segment in seconds."""
    try:
        begin_s, end_s = float(segment["begin_time"]), float(segment["end_time"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: begin_time or end_time is missing or not a number") from error
    if not 0 <= begin_s < end_s < inf:
        raise ValueError(f"{where}: got begin {begin_s}, end {end_s}, wanted 0 <= begin < end")
    return begin_s, end_s


def _opening(stream, path: Path) -> tuple[str, int]:
    buffer = ""
    while not (match := OPENING.search(buffer)):
        more = _read(stream, path, CHUNK_CHARACTERS)
        if not more:
            raise ValueError(f'{path}: contains no "audios": [; wanted a list of recordings')
        buffer += more
    return buffer, match.end()


def _read(stream, path: Path, num_characters: int) -> str:
    try:
        return stream.read(num_characters)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); download it again") from error
