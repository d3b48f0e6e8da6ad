"""Write synthetic speech in the real corpora's layouts: ids, directories, codecs and metadata files.

In: what a speaker said (samples at 16 kHz). Out: files below a corpus's root, as zipperasr/corpora reads them. A new
layout is a subclass of `Layout` and one line in LAYOUTS.
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from local.mini.espeak import SAMPLE_RATE_HZ
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
OPUS_COMPRESSION = 0.8  # 56 kbit/s: half the encoding time of the default 19 kbit/s
SPEAKER_CAPACITY = 1_000  # clip numbers reserved for each speaker
VIDEO_ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
WENETSPEECH_TREES = {
    "L": "train/youtube/B00000",
    "dev": "dev/Y00000",
    "test_net": "test_net/Y00000",
    "test_meeting": "test_meeting/T00000",
}
WENETSPEECH_PREFIXES = {"L": "Y", "dev": "DEV_Y", "test_net": "TEST_NET_Y", "test_meeting": "TEST_MEETING_T"}
PAUSES_S = (0.2, 0.7)  # between the segments of a long recording


@dataclass(frozen=True)
class Spoken:
    """One synthesised sentence."""

    written: str
    samples: np.ndarray  # int16, 16 kHz


@dataclass(frozen=True)
class Record:
    """One utterance's entry in the metadata files."""

    id: str
    speaker: str
    split: str
    kind: str
    text: str
    audio: str  # below the corpus's (language's) directory
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def plain(text: str) -> str:
    """Return lower case without punctuation, except apostrophes and hyphens within words, as in MLS."""
    kept = "".join(ch if ch in "'’-" or not unicodedata.category(ch).startswith("P") else " " for ch in text)
    return " ".join(word.strip("'’-") for word in kept.lower().split())


class Layout:
    """One corpus's layout."""

    @staticmethod
    def write_audio(
        root: Path, language: str, split: str, kind: str, speaker: int, spoken: list[Spoken], rng: random.Random
    ) -> list[Record]:
        """Write one speaker's audio; called in many processes."""
        raise NotImplementedError

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        """Write the metadata files of one language; called once, after all audio is written."""
        raise NotImplementedError

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        """Return the files and directories below the root that belong to the language."""
        raise NotImplementedError

    @staticmethod
    def train_shares(train_split: str) -> dict[str, float]:
        """Return the share of the training utterances in each split on disk; `train_split` joins names by +."""
        splits = train_split.split("+")
        return {split: 1 / len(splits) for split in splits}


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
            seconds = _write(folder / audio, item.samples)
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
            seconds = _write(root / CV_RELEASE / language / audio, item.samples, rate_hz)
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
            seconds = _write(root / audio, item.samples)
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


class Msr86k(Layout):
    """Videos of one speaker each: LANGUAGE/SPLIT/VIDEO.wav, cut by LANGUAGE/SPLIT.json."""

    @staticmethod
    def write_audio(root, language, split, kind, speaker, spoken, rng) -> list[Record]:
        video = _video_id(rng)
        audio = f"{split}/{video}.wav"
        times = _write_recording(root / language / audio, spoken, rng)
        return [
            Record(f"{video}_{number:04d}", video, split, kind, plain(item.written), audio, start_s, end_s)
            for number, (item, (start_s, end_s)) in enumerate(zip(spoken, times, strict=True))
        ]

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        for split in dict.fromkeys(record.split for record in records):
            audios = _recordings([record for record in records if record.split == split], {"language": language})
            for audio in audios:
                audio["path"] = Path(audio["path"]).name
            _write_json(root / language / f"{split}.json", {"dataset": "MSR-86K", "audios": audios})

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        return (language,)


class WenetSpeech(Layout):
    """Long opus recordings: audio/TREE/AID.opus, cut by one WenetSpeech.json."""

    @staticmethod
    def write_audio(root, language, split, kind, speaker, spoken, rng) -> list[Record]:
        aid = f"{WENETSPEECH_PREFIXES[split]}{speaker:010d}_{_video_id(rng)}"
        audio = f"audio/{WENETSPEECH_TREES[split]}/{aid}.opus"
        times = _write_recording(root / audio, spoken, rng)
        return [
            Record(f"{aid}_S{number:05d}", aid, split, kind, "".join(plain(item.written).split()), audio, *time)
            for number, (item, time) in enumerate(zip(spoken, times, strict=True))
        ]

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        audios = []
        for split in dict.fromkeys(record.split for record in records):
            rows = [record for record in records if record.split == split]
            audios += _recordings(rows, {}, {"subsets": [split.upper()], "confidence": 1.0})
        _write_json(root / "WenetSpeech.json", {"dataset": "WenetSpeech", "language": "ZH", "audios": audios})

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        return ("audio", "WenetSpeech.json")


LAYOUTS: dict[str, type[Layout]] = {
    "mls": Mls,
    "commonvoice": CommonVoice,
    "librispeech": LibriSpeech,
    "msr86k": Msr86k,
    "wenetspeech": WenetSpeech,
}


def _recordings(records: list[Record], extra: dict, segment_extra: dict | None = None) -> list[dict]:
    """WenetSpeech's and MSR-86K's objects: recordings with their segments."""
    audios: dict[str, dict] = {}
    for row in records:
        audio = audios.setdefault(row.audio, {"aid": row.speaker, "path": row.audio, **extra, "segments": []})
        times = {"begin_time": round(row.start_s, 3), "end_time": round(row.end_s, 3)}
        audio["segments"].append({"sid": row.id, **times, **(segment_extra or {}), "text": row.text})
    for audio in audios.values():
        audio["duration"] = audio["segments"][-1]["end_time"]  # a recording ends with its last utterance
    return list(audios.values())


def _write_json(path: Path, tree: dict) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1), encoding="utf-8")


def _video_id(rng: random.Random) -> str:
    return "".join(rng.choice(VIDEO_ID_CHARACTERS) for _ in range(11))


def _write_recording(path: Path, spoken: list[Spoken], rng: random.Random) -> list[tuple[float, float]]:
    """One file of all utterances with pauses between; returns their (start, end) in seconds, to milliseconds."""
    pieces, times, position = [], [], 0
    for item in spoken:
        pause = round(rng.uniform(*PAUSES_S), 3)
        pieces += [np.zeros(round(pause * SAMPLE_RATE_HZ), dtype=np.int16), item.samples]
        start = position + len(pieces[-2])
        position = start + len(item.samples)
        times.append((round(start / SAMPLE_RATE_HZ, 3), round(position / SAMPLE_RATE_HZ, 3)))
    _write(path, np.concatenate(pieces))
    return times


def _write(path: Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Encode by the path's suffix; returns the duration in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = len(samples) / SAMPLE_RATE_HZ
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz, quality="MQ")
    if path.suffix == ".opus":
        soundfile.write(path, samples, rate_hz, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION)
    elif path.suffix == ".mp3":
        soundfile.write(path, samples, rate_hz, format="MP3", compression_level=0.99)
    else:
        soundfile.write(path, samples, rate_hz)
    return seconds
