"""Draw unique sentences from a language's grammar.

In: language, count, seed, pattern set. Out: `Sentence(written, spoken)`: a transcript with capitals, full stops and
numbers in words, and the synthesiser's input for it. The same arguments give the same sentences. Sentences outside the
file's `length` (written characters) are drawn again, so that durations vary little.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from local.mini.texts.grammar import PATTERN_SETS, Grammar, load

ARABIC_MARKS = re.compile("[\u064b-\u0652\u0670]")  # short vowels and similar marks, usually not written
# Unicode's order is vowel, then doubling mark (shadda); espeak-ng loses the vowel unless the mark comes first
VOWEL_BEFORE_SHADDA = re.compile("([\u064b-\u0650])\u0651")
SENTENCE_MARKS = "_.,?!;:¿¡。、，？！؟،"
FINAL_MARK = re.compile(r" ?[.!?。！？؟]$")
UNSPACED_PARTS = re.compile(r"(\{\w+\})|[，、。！？]")
PHRASE_GAP = "_"  # a written space in a script without spaces between words
KOREAN_PARTICLE = re.compile(r"(.)~(.)")
AFTER_CONSONANT = {"는": "은", "가": "이", "를": "을", "와": "과", "로": "으로"}
KOREAN_FINALS, KOREAN_FINAL_L = 28, 8  # Unicode composes a syllable of a lead, a vowel and one of 28 finals
MAX_DRAWS_EACH = 50  # draws per sentence before the grammar counts as too small


@dataclass(frozen=True)
class Sentence:
    """A sentence as in a corpus, and as input of the synthesiser."""

    written: str
    spoken: str


def make_sentences(language: str, count: int, seed: int, patterns: str) -> list[Sentence]:
    """Return `count` different sentences of the pattern set 'pretrain' or 'recipe'. Raises ValueError."""
    if patterns not in PATTERN_SETS:
        raise ValueError(f"unknown pattern set {patterns!r}; choose from {', '.join(PATTERN_SETS)}")
    grammar = load(language)
    shortest, longest = (int(cell) for cell in grammar.settings["length"].split())
    rng = random.Random(f"{language}-{patterns}-{seed}")
    sentences: dict[str, Sentence] = {}
    for _ in range(MAX_DRAWS_EACH * count):
        if len(sentences) == count:
            break
        sentence = _finish(grammar, grammar.draw(patterns, rng))
        if shortest <= len(sentence.written) <= longest:
            sentences.setdefault(sentence.written, sentence)
    if len(sentences) < count:
        raise ValueError(
            f"{grammar.path.name}: got {len(sentences)} different sentences, wanted {count}; ask for fewer"
        )
    return list(sentences.values())


def make_salad(language: str, count: int, seed: int, patterns: str) -> list[Sentence]:
    """Return `count` lines of 6 to 12 words of a pattern set in random order, half of them with a final mark."""
    grammar, rng = load(language), random.Random(f"{language}-{patterns}-{seed}-salad")
    spaced = any(" " in pattern for pattern in grammar.patterns[patterns])
    words = [word for _ in range(600) for word in _words(grammar, patterns, rng, spaced)]
    marks = [match[0] for pattern in grammar.patterns[patterns] if (match := FINAL_MARK.search(pattern))] or [""]
    glue = " " if spaced else ""
    lines = []
    for _ in range(count):
        line = glue.join(rng.sample(words, rng.randint(6, 12)))
        lines.append(_finish(grammar, line + (rng.choice(marks) if rng.random() < 0.5 else "")))
    return lines


def _words(grammar: Grammar, patterns: str, rng: random.Random, spaced: bool) -> list[str]:
    """Draw a sentence's words without punctuation; without spaces, its slots' values and what stands between them."""
    if spaced:
        parts = grammar.draw(patterns, rng).split()
    else:
        pattern = rng.choice(grammar.patterns[patterns])
        parts = [grammar.fill(part, rng) for part in UNSPACED_PARTS.split(pattern) if part]
    return [word for part in parts if (word := part.strip(SENTENCE_MARKS))]


def _finish(grammar: Grammar, drawn: str) -> Sentence:
    return FINISHERS[grammar.settings["script"]](grammar, drawn)


def _plain(grammar: Grammar, drawn: str) -> Sentence:
    for apart, together in grammar.contractions.items():
        drawn = re.sub(rf"\b{apart}\b", together, drawn)
    written = drawn[0].upper() + drawn[1:]
    return Sentence(written, written)


def _vowelled(grammar: Grammar, drawn: str) -> Sentence:
    return Sentence(ARABIC_MARKS.sub("", drawn), VOWEL_BEFORE_SHADDA.sub("\u0651\\1", drawn))


def _korean(grammar: Grammar, drawn: str) -> Sentence:
    return _plain(grammar, KOREAN_PARTICLE.sub(_korean_particle, drawn))


def _korean_particle(match: re.Match) -> str:
    before, particle = match.groups()
    final = (ord(before) - ord("가")) % KOREAN_FINALS  # 0: the syllable ends in a vowel
    if final == 0 or (particle == "로" and final == KOREAN_FINAL_L):
        return before + particle
    return before + AFTER_CONSONANT[particle]


def _kana(grammar: Grammar, drawn: str) -> Sentence:
    return Sentence(_join(drawn), " ".join(grammar.spoken.get(token, token) for token in drawn.split()))


def _phonemes(grammar: Grammar, drawn: str) -> Sentence:
    tokens = drawn.split()
    silent = [token for token in tokens if token != PHRASE_GAP and token not in grammar.spoken]
    if silent:
        raise ValueError(f"{grammar.path.name}: no phonemes for {silent[0]!r}; add {silent[0]}=... to [words]")
    phonemes = " ".join(grammar.spoken[token] for token in tokens if token != PHRASE_GAP)
    return Sentence(_join(drawn), f"[[{phonemes}]]")


def _join(drawn: str) -> str:
    return "".join(" " if token == PHRASE_GAP else token for token in drawn.split())


# `script` in a file's [settings]: how the drawn string becomes a sentence
FINISHERS = {
    "plain": _plain,  # spoken as written
    "korean": _korean,  # particles after ~ are adapted to the sound before them
    "vowelled": _vowelled,  # vowel marks in the file are spoken but not written
    "kana": _kana,  # tokens written without spaces; `=` gives the kana
    "phonemes": _phonemes,  # tokens written without spaces; every one needs `=` and phonemes
}
