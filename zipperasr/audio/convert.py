"""Convert one chunk of utterances to an ark of 16 kHz FLAC, in a worker process of stage 2.

In: entries with audio files in any format. Out: BASE.ark (or BASE/*.flac) and BASE.json, which lists the utterances
written and those quarantined, with reasons. BASE.json is written last: if it matches, the chunk is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import kaldiio
import numpy as np
import soundfile

from zipperasr.atomic import atomic_path, fingerprint, read_record
from zipperasr.audio.load import SAMPLE_RATE, open_entry, read_excerpt, sample_fault, to_int16
from zipperasr.datadir.entry import Entry
from zipperasr.parallel import ahead

AUDIO_FORMATS = ("flac.ark", "flac")
FILES_AHEAD = 8  # opened while others are converted: on a network file system, opening takes longer than converting
FLAC = {"format": "flac", "subtype": "PCM_16"}


@dataclass(frozen=True)
class Chunk:
    """The work of one call."""

    base: str  # output path without suffix
    audio_format: str  # flac.ark: read by kaldiio; flac: one file per utterance, also read by espnet's SoundScpReader
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class ChunkResult:
    """The utterances of a chunk after conversion."""

    written: list[Entry]  # audio is the entry of wav.scp
    quarantined: list[tuple[str, str]]  # utt, reason


Write = Callable[[str, np.ndarray], str]  # (utt, int16 samples) -> entry of wav.scp


def convert_chunk(chunk: Chunk) -> ChunkResult:
    """Convert the chunk, unless an earlier run has done so."""
    record = Path(chunk.base + ".json")
    inputs = fingerprint(entries=[entry._asdict() for entry in chunk.entries], audio_format=chunk.audio_format)
    if record.is_file():
        known = read_record(record) or {}  # damaged: convert again
        if known.get("inputs") == inputs and known.get("ark_bytes", size := _ark_bytes(chunk)) == size:
            return _restored(chunk, known["written"], known["quarantined"])
        record.unlink()
    with _writer(chunk) as write:
        result = _convert(chunk.entries, write)
    written = [(entry.utt, entry.audio, entry.num_samples) for entry in result.written]
    with atomic_path(record) as temporary:
        known = {
            "inputs": inputs, "written": written, "quarantined": result.quarantined, "ark_bytes": _ark_bytes(chunk),
        }  # fmt: skip
        temporary.write_text(json.dumps(known), encoding="utf-8")
    return result


def _ark_bytes(chunk: Chunk) -> int | None:
    """Return the size of the archive; None if there is none."""
    ark = Path(chunk.base + ".ark")
    return ark.stat().st_size if ark.is_file() else None


def _restored(chunk: Chunk, written: list, quarantined: list) -> ChunkResult:
    """Return the result of an earlier run from its record."""
    entries = {entry.utt: entry for entry in chunk.entries}
    done = [_converted(entries[utt], audio, num_samples) for utt, audio, num_samples in written]
    return ChunkResult(done, [(utt, reason) for utt, reason in quarantined])


def _converted(entry: Entry, audio: str, num_samples: int) -> Entry:
    seconds = num_samples / SAMPLE_RATE
    return entry._replace(audio=audio, duration_s=seconds, num_samples=num_samples, start_s=None, end_s=None)


def _convert(entries: tuple[Entry, ...], write: Write) -> ChunkResult:
    result = ChunkResult([], [])
    groups = [list(group) for _, group in groupby(entries, key=lambda entry: entry.audio)]
    with ThreadPoolExecutor(FILES_AHEAD) as pool:
        opened = ahead(pool, _open, (rows[0].audio for rows in groups), FILES_AHEAD)
        for rows, recording in zip(groups, opened, strict=True):
            error = recording if isinstance(recording, Exception) else None
            if error is None:
                try:
                    with recording:
                        for entry in rows:
                            _convert_one(entry, recording, write, result)
                except soundfile.LibsndfileError as caught:
                    error = caught
            if error is not None:
                reason = getattr(error, "error_string", error)
                done = {entry.utt for entry in result.written} | {utt for utt, _ in result.quarantined}
                result.quarantined.extend(
                    (entry.utt, f"cannot be decoded: {reason}") for entry in rows if entry.utt not in done
                )
    return result


def _open(audio: str) -> soundfile.SoundFile | soundfile.LibsndfileError | ValueError:
    """Open a recording; return the error if it cannot be read."""
    try:
        return open_entry(audio)
    except (soundfile.LibsndfileError, ValueError) as error:
        return error


def _convert_one(entry: Entry, recording: soundfile.SoundFile, write: Write, result: ChunkResult) -> None:
    samples = read_excerpt(recording, entry.start_s, entry.end_s)
    flaw = _flaw(samples, entry.duration_s)
    if flaw:
        result.quarantined.append((entry.utt, flaw))
    else:
        result.written.append(_converted(entry, write(entry.utt, to_int16(samples)), len(samples)))


def _flaw(samples: np.ndarray, expected_s: float) -> str | None:
    """Return why an utterance cannot be used, if so. Lengths may differ by a tenth or by half a second."""
    seconds = len(samples) / SAMPLE_RATE
    if not len(samples):
        return "no samples"
    if fault := sample_fault(samples):
        return fault
    if seconds < expected_s - max(0.5, 0.1 * expected_s):
        return f"cut off: {seconds:.2f} s of {expected_s:.2f} s"
    return None


@contextmanager
def _writer(chunk: Chunk) -> Iterator[Write]:
    if chunk.audio_format == "flac":
        from espnet2.fileio.sound_scp import SoundScpWriter

        folder = Path(chunk.base)
        with SoundScpWriter(folder, folder / "wav.scp", format="flac", subtype="PCM_16") as writer:

            def write_file(utt: str, samples: np.ndarray) -> str:
                writer[utt] = SAMPLE_RATE, samples
                return writer.get_path(utt)

            yield write_file
        return
    ark = Path(chunk.base + ".ark")
    with atomic_path(ark) as temporary, temporary.open("wb") as stream:

        def write_ark(utt: str, samples: np.ndarray) -> str:
            offset = stream.tell() + len(utt.encode()) + 1  # Kaldi's offset points after `utt `
            kaldiio.save_ark(stream, {utt: (SAMPLE_RATE, samples)}, write_function="soundfile", write_kwargs=dict(FLAC))
            return f"{ark}:{offset}"

        yield write_ark
