"""Audio beside the page: flac files, byte for byte as stage 2 wrote them.

In: dump/raw/<set>/wav.scp and ids. Out: <page>_audio/<set>/<id>.flac. Nothing is decoded; a browser plays flac. What an
earlier report copied is kept if ids and wav.scp are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.report.html.ordered import Ordered

ARK_MARK, FLAC_MARK = b"AUDIO", b"fLaC"
COPYING = 1  # raise it when the same wav.scp would give other files
_ARK_ENTRY = re.compile(r"(.+):(\d+)$")


def copy_audio(wav_scp: Path, ids: Sequence[str], directory: Path) -> None:
    """Write `directory`/<id>.flac for each id. Raises OSError or ValueError if an entry cannot be read."""
    ids = sorted(ids)
    inputs = fingerprint(wav_scp=wav_scp, ids=ids, copying=COPYING)
    if is_current(directory, inputs):
        return
    entries = Ordered(wav_scp)
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        for utt in ids:
            (temporary / f"{utt}.flac").write_bytes(flac_bytes(entries.value(utt), f"{wav_scp}: id {utt!r}"))
        mark_current(temporary, inputs)


def flac_bytes(entry: str, where: str) -> bytes:
    """The flac file behind an entry of wav.scp: `path.ark:offset` or a path."""
    match = _ARK_ENTRY.match(entry)
    path = Path(match[1] if match else entry)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: {path} is not there; rerun stage 2, or report with --audio none")
    with path.open("rb") as stream:
        data = _from_ark(stream, int(match[2]), where) if match else stream.read()
    if not data.startswith(FLAC_MARK):
        raise ValueError(f"{where}: got {data[:4]!r} at {entry}, wanted a flac file; rerun stage 2")
    return data


def _from_ark(stream: BinaryIO, offset: int, where: str) -> bytes:
    """kaldiio's form of an audio file in an ark: AUDIO, width of the length, length (little-endian), the file."""
    stream.seek(offset)
    mark, width = stream.read(len(ARK_MARK)), stream.read(1)
    if mark != ARK_MARK or not width:
        raise ValueError(f"{where}: got {mark!r} at byte {offset} of {stream.name}, wanted {ARK_MARK!r}; rerun stage 2")
    length = int.from_bytes(stream.read(width[0]), "little")
    data = stream.read(length)
    if len(data) != length:
        raise ValueError(f"{where}: {stream.name} ends after {len(data)} of {length} bytes of audio; rerun stage 2")
    return data
