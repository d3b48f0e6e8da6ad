"""Every reader with every flaw: accepted, or rejected with file, line, id and remedy, as the tables below say.

Flaws of audio files (empty, truncated, NaN, other rates and channels) are in tests/audio/test_convert.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpora.example import (
    recording,
    write_common_voice,
    write_librispeech,
    write_mls,
    write_noise,
    write_recordings,
    write_text,
)
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.prepare.selection import Selector
from zipperasr.prepare.utterance_lists import Wanted

SAME = "same result as without the flaw"
CLIENT = "c" * 20


def mls(root: Path) -> Path:
    write_mls(root, {"dev": ["15_7_0", "15_7_1"]})
    return root / "mls_german/dev/transcripts.txt"


def mls_segments(root: Path) -> Path:
    return mls(root).with_name("segments.txt")


def commonvoice(root: Path) -> Path:
    write_common_voice(root, {"dev": [(CLIENT, "a_0.mp3", "text a"), (CLIENT, "a_1.mp3", "text b")]}, "de")
    for number in range(2):
        write_noise(root / f"de/clips/a_{number}.mp3")
    return root / "de/dev.tsv"


def librispeech(root: Path) -> Path:
    write_librispeech(root, {"dev": ["19-227-0", "19-227-1"]})
    return root / "LibriSpeech/dev/19/227/19-227.trans.txt"


def msr86k(name: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        rows = [(f"v1_{number}", f"v1_{number}.wav", f"text {number}") for number in range(2)]
        lines = {
            "dev.jsonl": [json.dumps({"id": utt, "wav": wav, "text": text}) for utt, wav, text in rows],
            "dev.tsv": ["id\tpath\tsentence", *("\t".join(row) for row in rows)],
            "dev/text": [f"{utt} {text}" for utt, _, text in rows],
        }
        for _, wav, _ in rows:
            write_noise(root / "de/dev" / wav)
        return write_text(root / "de" / name, *lines[name])

    return write


def wenetspeech(root: Path) -> Path:
    write_noise(root / "audio/dev/Y1.opus", 4.0)
    item = recording("Y1", "audio/dev/Y1.opus", [(0.5, 1.5), (2.0, 3.0)], subsets=["DEV"])
    return write_recordings(root / "WenetSpeech.json", [item])


CORPORA: dict[str, tuple[str, str, Callable[[Path], Path]]] = {  # name -> corpus, language, writer of its metadata
    "mls": ("mls", "de", mls),
    "mls segments": ("mls", "de", mls_segments),
    "commonvoice": ("commonvoice", "de", commonvoice),
    "librispeech": ("librispeech", "en", librispeech),
    "msr86k jsonl": ("msr86k", "de", msr86k("dev.jsonl")),
    "msr86k tsv": ("msr86k", "de", msr86k("dev.tsv")),
    "msr86k text": ("msr86k", "de", msr86k("dev/text")),
    "wenetspeech": ("wenetspeech", "zh", wenetspeech),
}


def last_line(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Apply the change to the last line only."""

    def damage(content: bytes) -> bytes:
        *lines, last = content.splitlines(keepends=True)
        return b"".join((*lines, change(last)))

    return damage


FLAWS: dict[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "Windows line ends": lambda content: content.replace(b"\n", b"\r\n"),
    "no last newline": lambda content: content.rstrip(b"\n"),
    "blank line": lambda content: content + b"\n",
    "Latin-1": last_line(lambda line: line.replace(b"t", b"\xe4").replace(b"S", b"\xe4")),
    "cut line": last_line(lambda line: line[: len(line) // 8]),
    "a line twice": last_line(lambda line: line + line),
}
EXPECTED = {
    flaw: dict.fromkeys(CORPORA, SAME)
    for flaw in ("byte order mark", "Windows line ends", "no last newline", "blank line")
} | {
    "Latin-1": {
        "mls": r"transcripts.txt:2: not UTF-8 .*; convert the file with iconv",
        "mls segments": r"segments.txt:2: not UTF-8",
        "commonvoice": r"dev.tsv:3: not UTF-8",
        "librispeech": r"19-227.trans.txt:2: not UTF-8",
        "msr86k jsonl": r"dev.jsonl:2: not UTF-8",
        "msr86k tsv": r"dev.tsv:3: not UTF-8",
        "msr86k text": r"text:2: not UTF-8",
        "wenetspeech": r"WenetSpeech.json: not UTF-8 .*; download it again",
    },
    "cut line": {
        "mls": r"transcripts.txt:2: got '15', wanted SPEAKER_BOOK_NUMBER<TAB>text; download",
        "mls segments": r"segments.txt:2: got '15_7_', wanted id, URL, start, end, tab separated; download",
        "commonvoice": r"dev.tsv:3: got 1 cells, wanted 6 as in the header; download",
        "librispeech": r"19-227.trans.txt:2: got '19-', wanted SPEAKER-CHAPTER-NUMBER and text; download",
        "msr86k jsonl": r"dev.jsonl:2: not JSON",
        "msr86k tsv": r"dev.tsv:3: got 1 cells, wanted 3 as in the header",
        "msr86k text": SAME,  # the id that remains has no audio and is counted as missing
        "wenetspeech": r"WenetSpeech.json: not complete JSON after recording 0 .*; download it again",
    },
    "a line twice": {
        "mls": r"id '15_7_1' is repeated in mls de; remove one of its lines",
        "mls segments": SAME,
        "commonvoice": r"id 'a_1' is repeated in commonvoice de",
        "librispeech": r"id '19-227-1' is repeated in librispeech en",
        "msr86k jsonl": r"id 'v1_1' is repeated in msr86k de",
        "msr86k tsv": r"id 'v1_1' is repeated in msr86k de",
        "msr86k text": r"id 'v1_1' is repeated in msr86k de",
        "wenetspeech": SAME,  # content after the object is not read
    },
}
TRAVERSAL = {  # (original, replacement, error)
    "mls": (
        b"15_7_1",
        b"../../x",
        r"transcripts.txt:2: id '../../x' is empty or contains whitespace or slashes; correct the line",
    ),
    "commonvoice": (
        b"a_1.mp3",
        b"../../x.mp3",
        r"dev.tsv:3: id '../../x.mp3' is empty or contains",
    ),
    "librispeech": (b"19-227-1", b"../../x", r"trans.txt:2: id '../../x' is empty or contains whitespace or slashes"),
    "msr86k jsonl": (b"v1_1.wav", b"../../x.wav", r"dev.jsonl:2: got audio '../../x.wav', wanted a path below"),
    "msr86k tsv": (b"v1_1.wav", b"/etc/x.wav", r"dev.tsv:3: got audio '/etc/x.wav', wanted a path below"),
    "msr86k text": (b"v1_1", b"../../x", r"text:2: id '../../x' is empty or contains whitespace or slashes"),
    "wenetspeech": (b"audio/dev/", b"../../", r"recording 'Y1': got path '../../Y1.opus', wanted aid and a path below"),
}
TABS = {  # within the text
    "mls": SAME,
    "commonvoice": r"dev.tsv:3: got 7 cells, wanted 6 as in the header",
    "librispeech": SAME,
    "msr86k jsonl": r"dev.jsonl:2: not JSON",
    "msr86k tsv": r"dev.tsv:3: got 4 cells, wanted 3 as in the header",
    "msr86k text": SAME,
    "wenetspeech": r"WenetSpeech.json: not complete JSON after recording 0 \(Invalid control character",
}


def texts_of(name: str, root: Path) -> dict[str, str]:
    """{utterance: text} of the utterances that stage 1 would accept from the split."""
    corpus, language, _ = CORPORA[name]
    row = DatasetRow("sft", corpus, corpus, language, "train", None, "dev", ("test",), (1.0,), None, None)
    found = Selector(row, root, root / "scratch", seed=0).select("dev", Wanted("all"), set())
    return {row["utt"]: row["text"] for block in found.entries.blocks() for row in block.to_pylist()}


def check(name: str, root: Path, damage: Callable[[bytes], bytes], expected: str) -> None:
    metadata = CORPORA[name][2](root)
    sound = texts_of(name, root)
    assert len(sound) == 2
    metadata.write_bytes(damage(metadata.read_bytes()))
    if expected == SAME:
        left = texts_of(name, root)
        assert left and left.items() <= sound.items()
    else:
        with pytest.raises(ValueError, match=expected):
            texts_of(name, root)


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_metadata(tmp_path: Path, name: str, flaw: str):
    check(name, tmp_path, FLAWS[flaw], EXPECTED[flaw][name])


@pytest.mark.parametrize("name", TRAVERSAL)
def test_no_path_leads_out_of_the_corpus(tmp_path: Path, name: str):
    old, new, message = TRAVERSAL[name]
    check(name, tmp_path, last_line(lambda line: line.replace(old, new)), message)


@pytest.mark.parametrize("name", TABS)
def test_tabs_within_a_text(tmp_path: Path, name: str):
    damage = last_line(lambda line: line.replace(b"text ", b"text \t ").replace(b"WORDS ", b"WORDS \t "))
    check(name, tmp_path, damage, TABS[name])
