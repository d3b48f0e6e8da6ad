"""Write synthetic speech in the real corpora's layouts: ids, directories, codecs and metadata files.

In: what a speaker said (samples at 16 kHz). Out: files below a corpus's root, as zipperasr/corpora reads them. A new
layout is a subclass of `Layout` and one line in LAYOUTS.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from local.mini.layout import Layout, Record, plain, write_encoded
from local.mini.long_recordings import Msr86k, WenetSpeech
from zipperasr.corpora.mls import DIRECTORIES
from zipperasr.datadir.entry import write_lines

MLS_OPUS = {"pt"}  # as in MLS's opus archive; the others as in the flac archive, which encodes 25 times as fast
CV_RELEASE = "cv-corpus-18.0-2024-06-14"
CV_COLUMNS = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes",
    "age", "gender", "accents", "variant", "locale", "segment",
)  # fmt: skip
CV_RATES_HZ = (32_000, 32_000, 32_000, 48_000)  # drawn by speaker
CV_NUMBERS = {"test": 20_000_000, "dev": 21_000_000, "train": 22_000_000, "other": 23_000_000}
SPEAKER_CAPACITY = 1_000  # clip numbers reserved for each speaker


class Mls(Layout):
    """Books of one speaker each: audio/SPEAKER/BOOK/ID.{flac,opus}."""

    @staticmethod
    def write_audio(root, language, split, kind, speaker, spoken, rng) -> list[Record]:
        name, book = str(100 + 37 * speaker), str(2000 + speaker)
        suffix = "opus" if language in MLS_OPUS else "flac"
        folder = root / Mls.directory(language)
        records, position_s = [], round(rng.uniform(10, 600), 2)
        for number, item in enumerate(spoken):
            utt_id = f"{name}_{book}_{number:06d}"
            audio = f"{split}/audio/{name}/{book}/{utt_id}.{suffix}"
            seconds = write_encoded(folder / audio, item.samples)
            records.append(Record(utt_id, name, split, kind, plain(item.written), audio, position_s,
                                  position_s + seconds))  # fmt: skip
            position_s += seconds
        return records

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        folder = root / Mls.directory(language)
        for split in dict.fromkeys(record.split for record in records):
            rows = [record for record in records if record.split == split]
            write_lines(folder / split / "transcripts.txt", (f"{row.id}\t{row.text}" for row in rows))
            url = "http://www.archive.org/download/mini/{}_64kb.mp3"
            write_lines(
                folder / split / "segments.txt",
                (f"{r.id}\t{url.format(r.id.split('_')[1])}\t{r.start_s:.3f}\t{r.end_s:.3f}" for r in rows),
            )
        books = {(record.speaker, record.split, record.id.split("_")[1]) for record in records}
        header = "SPEAKER | GENDER | PARTITION | MINUTES | BOOK ID | TITLE | CHAPTER"
        lines = [f"{speaker} | F | {split} | 1.0 | {book} | Mini {book} | 1" for speaker, split, book in sorted(books)]
        write_lines(folder / "metainfo.txt", [header, *lines])

    @staticmethod
    def directory(language: str) -> str:
        return f"mls_{DIRECTORIES[language]}" + ("_opus" if language in MLS_OPUS else "")

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        return (Mls.directory(language),)


class CommonVoice(Layout):
    """Single clips: clips/common_voice_LANGUAGE_NUMBER.mp3 and one tsv per split."""

    @staticmethod
    def write_audio(root, language, split, kind, speaker, spoken, rng) -> list[Record]:
        client_id = hashlib.sha512(f"{language} {speaker}".encode()).hexdigest()
        rate_hz = rng.choice(CV_RATES_HZ)
        records = []
        for number, item in enumerate(spoken):
            utt_id = f"common_voice_{language}_{CV_NUMBERS[split] + speaker * SPEAKER_CAPACITY + number}"
            audio = f"clips/{utt_id}.mp3"
            seconds = write_encoded(root / CV_RELEASE / language / audio, item.samples, rate_hz)
            records.append(Record(utt_id, client_id, split, kind, item.written, audio, 0.0, seconds))
        return records

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        folder = root / CV_RELEASE / language
        tables = {split: [record for record in records if record.split == split] for split in CV_NUMBERS}
        tables["validated"] = [record for record in records if record.split != "other"]
        for split, rows in tables.items():
            lines = ("\t".join(CommonVoice._cells(row, language)) for row in rows)
            write_lines(folder / f"{split}.tsv", ["\t".join(CV_COLUMNS), *lines])
        durations = (f"{Path(record.audio).name}\t{round(record.duration_s * 1000)}" for record in records)
        write_lines(folder / "clip_durations.tsv", ["clip\tduration[ms]", *durations])

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        return (f"{CV_RELEASE}/{language}",)

    @staticmethod
    def train_shares(train_split: str) -> dict[str, float]:
        """Put a tenth of the clips in `other`; `validated` consists of train, dev and test."""
        return {"train": 0.9, "other": 0.1}

    @staticmethod
    def _cells(row: Record, language: str) -> list[str]:
        sentence_id = hashlib.sha256(row.text.encode()).hexdigest()
        known = {
            "client_id": row.speaker, "path": Path(row.audio).name, "sentence_id": sentence_id, "sentence": row.text,
            "up_votes": "2", "down_votes": "0", "locale": language,
        }  # fmt: skip
        return [known.get(column, "") for column in CV_COLUMNS]


class LibriSpeech(Layout):
    """Chapters of one speaker each: LibriSpeech/SPLIT/SPEAKER/CHAPTER/ID.flac and SPEAKER-CHAPTER.trans.txt."""

    @staticmethod
    def write_audio(root, language, split, kind, speaker, spoken, rng) -> list[Record]:
        name, chapter = str(19 + 7 * speaker), str(120_000 + speaker)
        records = []
        for number, item in enumerate(spoken):
            utt_id = f"{name}-{chapter}-{number:04d}"
            audio = f"LibriSpeech/{split}/{name}/{chapter}/{utt_id}.flac"
            seconds = write_encoded(root / audio, item.samples)
            records.append(Record(utt_id, name, split, kind, plain(item.written).upper(), audio, 0.0, seconds))
        return records

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        chapters: dict[Path, list[Record]] = {}
        for record in records:
            chapters.setdefault(root / Path(record.audio).parent, []).append(record)
        for folder, rows in chapters.items():
            name = rows[0].id.rpartition("-")[0]
            write_lines(folder / f"{name}.trans.txt", (f"{row.id} {row.text}" for row in rows))

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        return ("LibriSpeech",)


LAYOUTS: dict[str, type[Layout]] = {
    "mls": Mls,
    "commonvoice": CommonVoice,
    "librispeech": LibriSpeech,
    "msr86k": Msr86k,
    "wenetspeech": WenetSpeech,
}
