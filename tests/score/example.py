"""An example: a small dump/raw with one test set per language, and hypotheses for it."""

from __future__ import annotations

from pathlib import Path

# Three sentences per language; the second is misrecognised, in ways that each script makes possible.
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
CORPUS = {"en": "librispeech", "zh": "wenetspeech", "ru": "msr86k", "vi": "msr86k", "fr": "mls", "de": "mls"}
CORPUS |= {"es": "mls", "it": "mls", "th": "commonvoice", "ar": "commonvoice"}
CORPUS |= {"ja": "commonvoice", "ko": "commonvoice", "pt": "commonvoice"}


def write_table(path: Path, rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows.items())), encoding="utf-8")


def write_test_set(raw: Path, decode_dir: Path, code: str, corpus: str, sentences: list[tuple[str, str]]) -> str:
    """One test set with two speakers; the last utterance stands twice in the authors' list."""
    name = f"test_{corpus}_{code}"
    ids = [f"spk{number % 2}-{code}{number}" for number in range(len(sentences))]
    write_table(raw / name / "text", {utt: ref for utt, (ref, _) in zip(ids, sentences, strict=True)})
    write_table(raw / name / "utt2lang", dict.fromkeys(ids, code))
    write_table(raw / name / "utt2spk", {utt: utt.split("-")[0] for utt in ids})
    write_table(raw / name / "utt2repeat", {utt: 1 + (utt == ids[-1]) for utt in ids})
    write_table(decode_dir / name / "text", {utt: hyp for utt, (_, hyp) in zip(ids, sentences, strict=True)})
    return name


def write_example(root: Path) -> tuple[Path, Path]:
    """(decode_dir, raw) of thirteen languages; zh belongs to the source domain, as do second sets of en, fr and th."""
    raw, decode_dir = root / "dump" / "raw", root / "exp" / "sft_vanilla_chunked" / "decode_greedy_chunked"
    rows = ["set\tkind\tphase\tcorpus\tlanguage"]
    sets = [(code, CORPUS[code], "align" if code == "zh" else "sft") for code in SENTENCES]
    for code, corpus, phase in [*sets, *((code, "msr86k", "align") for code in ("en", "fr", "th"))]:
        name = write_test_set(raw, decode_dir, code, corpus, SENTENCES[code])
        rows.append(f"{name}\ttest\t{phase}\t{corpus}\t{code}")
    (raw / "sets.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return decode_dir, raw
