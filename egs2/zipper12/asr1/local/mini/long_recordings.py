"""Layouts of corpora of long recordings: MSR-86K and WenetSpeech."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from local.mini.espeak import SAMPLE_RATE_HZ
from local.mini.layout import Layout, Record, Spoken, plain, write_encoded

VIDEO_ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
WENETSPEECH_TREES = {
    "L": "train/youtube/B00000",
    "dev": "dev/Y00000",
    "test_net": "test_net/Y00000",
    "test_meeting": "test_meeting/T00000",
}
WENETSPEECH_PREFIXES = {"L": "Y", "dev": "DEV_Y", "test_net": "TEST_NET_Y", "test_meeting": "TEST_MEETING_T"}
PAUSES_S = (0.2, 0.7)  # between the segments of a long recording


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
    write_encoded(path, np.concatenate(pieces))
    return times
