"""Small corpora on disk: noise instead of speech, in the layouts of the real corpora."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile


def write_noise(path: Path, seconds: float = 1.0, rate: int = 16_000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Write noise in the codec that the suffix names; returns the samples (frames, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels)).astype(np.float32)
    codec = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, samples, rate, **codec)
    return samples


def write_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_mls(
    root: Path, splits: dict[str, list[str]], seconds: float = 1.0, directory: str = "mls_german", suffix: str = ".flac"
) -> Path:
    """MLS with the given ids SPEAKER_BOOK_NUMBER per split."""
    for split, ids in splits.items():
        folder = root / directory / split
        write_text(folder / "transcripts.txt", *(f"{utt_id}\ttext von {utt_id.replace('_', ' ')}" for utt_id in ids))
        lines = (f"{utt_id}\thttp://example.org/b.mp3\t5.0\t{5.0 + seconds}" for utt_id in ids)
        write_text(folder / "segments.txt", *lines)
        for utt_id in ids:
            speaker, book, _ = utt_id.split("_")
            write_noise(folder / "audio" / speaker / book / f"{utt_id}{suffix}", seconds)
    return root


CV_HEADER = ("client_id", "path", "sentence_id", "sentence", "up_votes", "locale")


def write_common_voice(root: Path, tables: dict[str, list[tuple[str, str, str]]], language: str = "ar") -> Path:
    """Common Voice with the given rows (client_id, clip, sentence) per split; clips are not written."""
    for split, rows in tables.items():
        lines = ("\t".join((client, clip, "s1", sentence, "2", language)) for client, clip, sentence in rows)
        write_text(root / language / f"{split}.tsv", "\t".join(CV_HEADER), *lines)
    return root


def write_librispeech(root: Path, splits: dict[str, list[str]]) -> Path:
    """LibriSpeech with the given ids SPEAKER-CHAPTER-NUMBER per split."""
    for split, ids in splits.items():
        chapters: dict[str, list[str]] = {}
        for utt_id in ids:
            chapters.setdefault(utt_id.rpartition("-")[0], []).append(utt_id)
        for chapter, chapter_ids in chapters.items():
            folder = root / "LibriSpeech" / split / chapter.replace("-", "/")
            write_text(folder / f"{chapter}.trans.txt", *(f"{utt_id} SOME WORDS OF IT" for utt_id in chapter_ids))
            for utt_id in chapter_ids:
                write_noise(folder / f"{utt_id}.flac")
    return root


def recording(aid: str, path: str, times: list[tuple[float, float]], **segment_extra: object) -> dict:
    """One recording in the JSON format of WenetSpeech and MSR-86K."""
    segments = [
        {"sid": f"{aid}_S{number}", "begin_time": begin, "end_time": end, "text": f"text {number}", **segment_extra}
        for number, (begin, end) in enumerate(times)
    ]
    return {"aid": aid, "path": path, "segments": segments}


def write_recordings(path: Path, recordings: list[dict]) -> Path:
    return write_text(path, json.dumps({"dataset": "x", "audios": recordings}, ensure_ascii=False))


def write_audio_table(path: Path, *files: bytes | None, row_group_size: int = 100, **columns: list) -> str:
    """Parquet or an Arrow stream with audio files in the column `audio`."""
    rows = [None if file is None else {"bytes": file, "path": None} for file in files]
    audio = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"audio": audio, **columns})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=row_group_size)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=row_group_size)
    return str(path)
