"""A recipe directory after stage 8 with real audio: two systems, English and Arabic, texts that look like code."""

from __future__ import annotations

import json
from pathlib import Path

import kaldiio
import numpy as np

from tests.report.example import RUNS
from zipperasr.audio.convert import FLAC
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.datadir.entry import write_lines
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.run_record import DecodingRun, save_run
from zipperasr.stages.score import main as score

EVIL = "<script>alert(1)</script> <img src=x onerror=alert(2)> </script> <!-- \u2028"
DURATION_S = 0.5
# reference, hypothesis of the first system, hypothesis of the second
ENGLISH = [
    ("one two three", "one two three", "one too three"),
    ("the red house", "the red mouse", "the red mouse"),
    (EVIL, EVIL, EVIL),
    ("nothing comes out", "", "nothing comes out"),
    ("stop", "stop stop stop stop stop stop", "stop"),
    ("we go home now", "we home now", "we go home now"),
]
ARABIC = [("ثلاثة أيام", "ثلاثة ايام", "hello ايام"), ("نَعم", "نعم", "لا")]  # a diacritic that is not recognised
SETS = {"test_librispeech_en": ("en", ENGLISH), "test_commonvoice_ar": ("ar", ARABIC)}
SYSTEMS = ("align_chunked", "sft_zipper_soft_chunked")


def write_page_run(root: Path, languages: Path, more_english: int = 0) -> Path:
    """Write all inputs of the page below `root`. `more_english`: number of additional utterances."""
    raw = root / "dump" / "raw"
    rows = []
    for name, (code, sentences) in SETS.items():
        filler = [("some more words", "some more birds", "some more words")] * (more_english if code == "en" else 0)
        _write_set(root, name, code, [*sentences, *filler])
        rows.append(SetRow(name, "test", "sft", name.split("_")[1], code))
    write_sets(raw / "sets.tsv", rows)
    decodings = [str(root / "exp" / system / "decode_greedy_chunked") for system in SYSTEMS]
    for system, decode_dir in zip(SYSTEMS, decodings, strict=True):
        save_run(RUNS[system], root / "exp" / system)
        save_run(DecodingRun("greedy", "chunked"), Path(decode_dir))
    assert score(["--decode_dir", *decodings, "--raw", str(raw), "--languages", str(languages)]) == 0
    return root


def _write_set(root: Path, name: str, code: str, sentences: list[tuple[str, str, str]]) -> None:
    directory = root / "dump" / "raw" / name
    directory.mkdir(parents=True)
    ids = [f"spk{number % 3}-{code}{number:05d}" for number in range(len(sentences))]
    write_lines(directory / "text", sorted(f"{utt} {texts[0]}" for utt, texts in zip(ids, sentences, strict=True)))
    write_lines(directory / "utt2spk", sorted(f"{utt} {utt.split('-')[0]}" for utt in ids))
    write_lines(directory / "utt2lang", sorted(f"{utt} {code}" for utt in ids))
    write_lines(directory / "utt2dur", sorted(f"{utt} {DURATION_S}" for utt in ids))
    write_lines(directory / "wav.scp", sorted(f"{utt} {entry}" for utt, entry in _write_ark(directory, ids).items()))
    for place, system in enumerate(SYSTEMS, 1):
        decoded = root / "exp" / system / "decode_greedy_chunked" / name
        decoded.mkdir(parents=True)
        lines = sorted(f"{utt} {texts[place]}".strip() for utt, texts in zip(ids, sentences, strict=True))
        write_lines(decoded / "text", lines)


def _write_ark(directory: Path, ids: list[str]) -> dict[str, str]:
    """Write a tone for each of the first utterances with kaldiio; the others share the last tone."""
    entries: dict[str, str] = {}
    path = directory / "format.1.ark"
    with path.open("wb") as stream:
        for number, utt in enumerate(ids):
            offset = stream.tell() + len(utt) + 1
            if number < len(ENGLISH):
                time_s = np.arange(int(DURATION_S * SAMPLE_RATE)) / SAMPLE_RATE
                tone = (8000 * np.sin(2 * np.pi * (220 + 20 * number) * time_s)).astype(np.int16)
                options = {"write_function": "soundfile", "write_kwargs": dict(FLAC)}
                kaldiio.save_ark(stream, {utt: (SAMPLE_RATE, tone)}, **options)
                entries[utt] = f"{path}:{offset}"
            else:
                entries[utt] = entries[ids[len(ENGLISH) - 1]]
    return entries


def add_to_score(directory: Path, **values: object) -> None:
    """Change keys of score.json."""
    path = directory / "score.json"
    record = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(record), encoding="utf-8")


def set_flags(directory: Path, flags: dict[str, list[str]] | None) -> None:
    """Set the flags of some utterances and remove the others'; None: as in versions of stage 8 without flags."""
    path = directory / "audit.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    for record in records:
        record.pop("flags", None)
        if flags is not None:
            record["flags"] = flags.get(record["id"], [])
    write_lines(path, [json.dumps(record, ensure_ascii=False) for record in records])
