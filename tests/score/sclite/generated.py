"""Generated trn files: letters of thirteen languages, all markup that sclite supports, ids in any order."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

LETTERS = {
    "de": "aäöüßbcÄÖ",
    "es": "aáñ¿oeí",
    "ru": "абвгдёЁЖ",
    "vi": "ăâđêôơưắằẳẵặỷĐ",
    "it": "aàèìò",
    "ar": "ابتثجحخدَُِ",
    "ja": "日本語がかなカナー",
    "ko": "가나다라마바한글",
    "pt": "aãçõé",
    "fr": "aéèêçœ",
    "en": "abcdefGH",
    "th": "กขคงสวัสดีครับ",
    "zh": "今天天气很好三月",
}
DECORATIONS = (
    *("{w}*", "{w}**", "{w};tag", "{w}\\;{w}", ";", "\\", "*", "%hesitation", "({w})", "({w}-)", "{w}-", "-{w}", "-"),
    *("{w}@{w}", "@", "a/b", "(", ":-)", "a-b", "_", "x;y;z", "()"),
)

Words = Callable[[], str]


def write_files(directory: Path, seed: int, num_utterances: int) -> None:
    """Write ref.trn and hyp.trn; a third of the seeds gives no markup, another third alternations."""
    rng = random.Random(seed)
    letters = LETTERS[list(LETTERS)[seed % len(LETTERS)]]
    # At most 6 letters: next to words of more than 40 bytes, sclite prints uninitialised memory.
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(rng.choice([3, 8, 40]))]
    decorated = 0.2 if seed % 3 else 0.0
    alternations = 0.1 if seed % 3 == 2 else 0.0

    def word() -> str:
        plain = rng.choice(vocabulary)
        return rng.choice(DECORATIONS).format(w=plain) if rng.random() < decorated else plain

    speakers = [*(f"s{number}" for number in range(rng.choice([1, 2, 6]))), "Spk_A", "ÉRIC", "x" * rng.randint(1, 50)]
    silent = {speaker for speaker in speakers if rng.random() < 0.15}
    references, hypotheses = [], []
    for number in range(num_utterances):
        speaker = rng.choice(speakers)
        length = 0 if speaker in silent else rng.choice([0, 1, rng.randint(0, 12), rng.randint(0, 12)])
        length = rng.randint(0, 200) if number == 7 and not alternations else length
        reference = [_alternation(rng, word) if rng.random() < alternations else word() for _ in range(length)]
        utt_id = f"({speaker}-{rng.choice('uU')}{number:03d})"
        references.append(f"{rng.choice([' ', '  ', chr(9)]).join(reference)} {utt_id}")
        hypotheses.append(f"{' '.join(_misheard(rng, reference, word))} {utt_id}")
    _write(directory, references, hypotheses, rng)


def _alternation(rng: random.Random, word: Words, depth: int = 0) -> str:
    alternatives = []
    for _ in range(rng.randint(1, 4)):
        parts = [
            _alternation(rng, word, depth + 1) if depth < 2 and rng.random() < 0.15 else word()
            for _ in range(rng.randint(1, 3))
        ]
        alternatives.append("@" if rng.random() < 0.2 else " ".join(parts))
    return "{ " + rng.choice([" / ", "/", " /"]).join(alternatives) + " }"


def _misheard(rng: random.Random, reference: list[str], word: Words) -> list[str]:
    if rng.random() < 0.1:
        return []
    heard = []
    for token in re.sub(r"[{}/]", " ", " ".join(reference)).split():
        kind = rng.random()
        heard += [] if kind < 0.06 else [word()] if kind < 0.12 else [token, word()] if kind < 0.16 else [token]
    return heard


def _write(directory: Path, references: list[str], hypotheses: list[str], rng: random.Random) -> None:
    if rng.random() < 0.5:
        rng.shuffle(references)
    if rng.random() < 0.3:
        rng.shuffle(hypotheses)
    references[3:3] = [";; a comment", "words without hypothesis (s0-zzz)"]
    hypotheses[5:5] = ["** a comment", "  "]
    directory.mkdir()
    for name, lines in (("ref.trn", references), ("hyp.trn", hypotheses)):
        (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
