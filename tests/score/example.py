"""A small dump/raw with one test set per language, and hypotheses for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zipperasr.datadir.entry import Entry, write_lines
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.datadir.write import write_data_dir
from zipperasr.score.score_files import SIDES, trn_line
from zipperasr.score.test_set import ScoredUtterance

# Three sentences per language; the second is misrecognised in a way that is typical of the script.
SENTENCES = {
    "en": [("Nine one two, please.", "912 please"), ("The colour of it", "the color off hit"), ("Mr. Lee", "")],
    "fr": [("C'est l'été à Paris.", "c'est l'été à paris"), ("Où est la gare ?", "ou est gare"), ("Trois", "trois")],
    "th": [("สวัสดีครับ", "สวัสดีครับ"), ("วันนี้อากาศดี", "วันนี้อากาสดี"), ("สาม สอง หนึ่ง", "สามสองหนึ่ง")],
    "zh": [("今天天气很好。", "今天天气很好"), ("三月十五日", "三月五日"), ("你好，世界", "你好世界")],
    "de": [("Die Straße ist lang.", "die straße ist lang"), ("Fünf große Häuser", "fünf große heuser"), ("Ja", "ja")],
    "es": [("¿Dónde está el niño?", "dónde está el niño"), ("Mañana por la noche", "mañana por noche"), ("Sí", "sí")],
    "ru": [("Ещё один день.", "ещё один день"), ("Где мой чёрный кот", "где мой черный код"), ("Да", "да")],
    "vi": [("Hôm nay trời đẹp.", "hôm nay trời đẹp"), ("Tôi ở Hà Nội", "tôi ở hà lội nhé"), ("Vâng", "vâng")],
    "it": [("Perché no?", "perché no"), ("La città è bella", "la citta e bella"), ("Così", "così")],
    "ar": [("مَرْحَبًا بك", "مَرْحَبًا بك"), ("ثلاثة أيام", "ثلاثة ايام"), ("نعم", "نعم")],
    "ja": [("今日は三月三日です。", "今日は三月三日です"), ("がんばって", "かんばって"), ("はい", "はい")],
    "ko": [("안녕하세요 여러분", "안녕하세요여러분"), ("오늘은 월요일", "오늘 월요일"), ("네", "네")],
    "pt": [("Não sei, São Paulo.", "não sei são paulo"), ("A ação de hoje", "a acão de hoje"), ("Olá", "olá")],
}
SOURCE = ("en", "fr", "th", "zh")
CORPUS = {"en": "librispeech", "zh": "wenetspeech", "ru": "msr86k", "vi": "msr86k", "fr": "mls", "de": "mls"}
CORPUS |= {"es": "mls", "it": "mls", "th": "commonvoice", "ar": "commonvoice"}
CORPUS |= {"ja": "commonvoice", "ko": "commonvoice", "pt": "commonvoice"}


def write_test_set(raw: Path, decode_dir: Path, code: str, corpus: str) -> SetRow:
    """A test set with two speakers; the last utterance is listed twice in the authors' list."""
    name = f"test_{corpus}_{code}"
    entries = []
    hypotheses = []
    for number, (reference, hypothesis) in enumerate(SENTENCES[code]):
        speaker = f"spk{number % 2}"
        repeat = 2 if number == len(SENTENCES[code]) - 1 else 1
        entries.append(Entry(f"{speaker}-{code}{number}", speaker, "a.wav", reference, code, 1.5, repeat))
        hypotheses.append(f"{entries[-1].utt} {hypothesis}".rstrip())
    write_data_dir(raw / name, entries)
    (decode_dir / name).mkdir(parents=True)
    (decode_dir / name / "rtf.json").write_text('{"audio_s": 4.5, "seconds": 0.5, "rtf": 0.11111}\n', "utf-8")
    write_lines(decode_dir / name / "text", sorted(hypotheses))
    return SetRow(
        name, "test", "align" if corpus in ("msr86k", "wenetspeech") and code in SOURCE else "sft", corpus, code
    )


def write_example(root: Path) -> tuple[Path, Path]:
    """(decode_dir, raw): target sets in twelve languages, source sets in en, fr, th and zh."""
    raw, decode_dir = root / "dump" / "raw", root / "exp" / "sft_vanilla_chunked" / "decode_greedy_chunked"
    pairs = [*CORPUS.items(), *((code, "msr86k") for code in ("en", "fr", "th"))]
    write_sets(raw / "sets.tsv", [write_test_set(raw, decode_dir, code, corpus) for code, corpus in pairs])
    return decode_dir, raw


def write_trn(directory: Path, utterances: Iterable[ScoredUtterance]) -> None:
    """Write ref.trn and hyp.trn as stage 8 does."""
    for name, side in SIDES.items():
        lines = [trn_line(utterance, side) for utterance in utterances]
        (directory / name).write_text("".join(lines), encoding="utf-8", newline="\n")
