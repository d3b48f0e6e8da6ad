"""References for the published tokenizers: tiktoken with the same ranks, openai-whisper's tokenizer, and texts."""

from __future__ import annotations

import random
import sys
import unicodedata
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import tiktoken
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from local.mini.texts import PATTERN_SETS, make_sentences
from zipperasr.languages import Language
from zipperasr.model.bpe_ranks import QWEN_RANKS, WHISPER_RANKS, ranks_path, read_ranks
from zipperasr.score.normalise import normaliser

# Unicode blocks of the scripts of the 13 languages, of marks, digits, punctuation, spaces and symbols
BLOCKS = (
    *((0x20, 0x7F), (0xA0, 0x180), (0x300, 0x330), (0x400, 0x460), (0x600, 0x660), (0x660, 0x66A), (0xE01, 0xE5C)),
    *((0x1100, 0x1120), (0x1EA0, 0x1EFA), (0x2000, 0x2030), (0x3040, 0x3100), (0x4E00, 0x5000), (0xAC00, 0xAD00)),
    *((0xFB50, 0xFB80), (0xFF00, 0xFF60), (0x1F600, 0x1F640), (0x09, 0x0E)),
)
HARD_TEXTS = (
    "in 1984 waren es 3,5 Millionen – 007!",
    "l'été qu'il n'a pas vu, d’un coup; I'LL they'Re don't",
    "ครั้งที่ ๑๒ น้ำใจผู้ใหญ่",  # tone marks over vowels
    "السَّلَامُ عَلَيْكُمْ",  # with vowel marks
    "がぎぐげごパピプ",
    "Tiếng Việt có dấu",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ♪",
    "한국어 학교",
    "两 个  空格\tund\nZeilen",
)


def whisper_package() -> ModuleType:
    """Load whisper/tokenizer.py of openai-whisper alone, because the package requires numba."""
    path = ranks_path(WHISPER_RANKS).parents[1] / "tokenizer.py"
    spec = spec_from_file_location("openai_whisper_tokenizer", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module


def qwen_tiktoken() -> tiktoken.Encoding:
    """tiktoken with Qwen's ranks and Qwen2's pre-tokenization pattern, without special tokens."""
    return tiktoken.Encoding(
        "qwen", pat_str=PRETOKENIZE_REGEX, mergeable_ranks=read_ranks(QWEN_RANKS), special_tokens={}
    )


def random_texts(count: int, seed: int) -> list[str]:
    """Random strings of 1 to 40 assigned characters, in runs from one block each."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        text = ""
        while len(text) < rng.randint(1, 40):
            block = range(*rng.choice(BLOCKS))
            text += "".join(chr(rng.choice(block)) for _ in range(rng.randint(1, 8)))
        texts.append("".join(char for char in text if unicodedata.category(char) != "Cn"))
    return texts


def sentences(language: Language) -> list[str]:
    """Sentences of the mini corpora in a language: 150 of each pattern set."""
    return [one.written for patterns in PATTERN_SETS for one in make_sentences(language.code, 150, 1, patterns)]


def normalised(language: Language, texts: list[str]) -> list[str]:
    """The sentences in every form that training or scoring uses."""
    chosen = {language.normaliser, "whisper", "whisper_marks"}
    forms = [[normaliser(name)(text) for text in texts] for name in sorted(chosen)]
    return sorted({*texts, *(text.lower() for text in texts), *(text for form in forms for text in form)} - {""})
