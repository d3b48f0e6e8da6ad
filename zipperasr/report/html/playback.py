"""Audio beside the page: flac files, byte for byte as stage 2 wrote them.

In: dump/raw/<set>/wav.scp and ids. Out: <page>_audio/<set>/<id>.flac. Nothing is decoded; a browser plays flac. What an
earlier report copied is kept if ids and wav.scp are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.ark import audio_bytes, split_entry
from zipperasr.report.html.ordered import Ordered
from zipperasr.text_lines import refuse_pipe

FLAC_MARK = b"fLaC"
COPYING = 1  # raise it when the same wav.scp would give other files


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
    name, offset = split_entry(refuse_pipe(entry, where))
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: {path} is not there; rerun stage 2, or report with --audio none")
    with path.open("rb") as stream:
        data = stream.read() if offset is None else audio_bytes(stream, offset, where)
    if not data.startswith(FLAC_MARK):
        raise ValueError(f"{where}: got {data[:4]!r} at {entry}, wanted a flac file; rerun stage 2")
    return data
