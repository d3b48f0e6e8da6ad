"""Number of LLM tokens per second of speech and per prompt, by language.

Measured on the mini corpora's sentences: Qwen3's characters per token, and the speaking rates of espeak-ng relative to
English; also the length of the recipe's prompts. Assumed: `ENGLISH_WORDS_PER_S`. The tests repeat the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENGLISH_WORDS_PER_S = 2.7  # read speech, pauses included


@dataclass(frozen=True)
class TextLengths:
    """One language. Characters include spaces but no punctuation."""

    characters_per_s: float
    characters_per_token: float
    prompt_tokens: float

    @property
    def tokens_per_s(self) -> float:
        return self.characters_per_s / self.characters_per_token


TEXT_LENGTHS = {
    "en": TextLengths(14.6, 4.84, 9),
    "fr": TextLengths(17.6, 3.68, 10),
    "th": TextLengths(8.9, 1.78, 15),
    "zh": TextLengths(3.1, 1.50, 9),
    "de": TextLengths(13.8, 3.55, 12),
    "es": TextLengths(14.5, 3.56, 12),
    "ru": TextLengths(14.7, 2.72, 21),
    "vi": TextLengths(14.8, 3.26, 16),
    "it": TextLengths(13.8, 3.37, 16),
    "ar": TextLengths(8.4, 3.02, 15),
    "ja": TextLengths(4.4, 1.31, 11),
    "ko": TextLengths(5.6, 1.33, 15),
    "pt": TextLengths(13.2, 3.33, 14),
}


def mean_tokens(hours: Mapping[str, float]) -> tuple[float, float]:
    """Tokens per second of speech and per prompt, weighted by hours. Languages not in the table are ignored."""
    known = {code: weight for code, weight in hours.items() if code in TEXT_LENGTHS and weight}
    if not known:
        return mean_tokens(dict.fromkeys(TEXT_LENGTHS, 1.0))
    total = sum(known.values())
    per_s = sum(weight * TEXT_LENGTHS[code].tokens_per_s for code, weight in known.items()) / total
    prompt = sum(weight * TEXT_LENGTHS[code].prompt_tokens for code, weight in known.items()) / total
    return per_s, prompt
