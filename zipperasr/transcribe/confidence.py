"""Tokens and words of a text with their probabilities.

In: a decoded utterance. Out: `Token`s with log-probabilities, and `Word`s with confidences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import regex
from transformers import PreTrainedTokenizerBase

from zipperasr.decode.decoder import Decoded
from zipperasr.decode.token_texts import token_texts
from zipperasr.transcribe.calibration import UNCHANGED, Calibration
from zipperasr.transcribe.transcript import Token, Word

_WORDS = {"wer": regex.compile(r"\S+"), "cer": regex.compile(r"(?!\s)\X")}  # by the unit that a language is scored in


def tokens_of(decoded: Decoded, tokenizer: PreTrainedTokenizerBase) -> tuple[Token, ...]:
    """Return the tokens of the text; tokens with parts of characters are joined, and their log-probabilities added."""
    added = tokenizer.added_tokens_decoder  # not in the text, see hypothesis_text
    kept = [pair for pair in zip(decoded.tokens, decoded.logprobs, strict=False) if pair[0] not in added]
    logprobs = iter([logprob for _, logprob in kept])
    return tuple(
        Token(text, sum(islice(logprobs, count)), count)
        for count, text in token_texts(tokenizer, [token for token, _ in kept])
    )


def words_of(text: str, tokens: Sequence[Token], unit: str, calibration: Calibration = UNCHANGED) -> tuple[Word, ...]:
    """Divide a text into words at spaces, or into characters (graphemes) if its language is scored by them.

    confidence = calibration(exp(mean of the log-probabilities of its LLM tokens)): of minimum, product, arithmetic
    and geometric mean, the last separates right and wrong words of the mini dev sets best. No tokens: no confidence.
    """
    if not tokens:
        return tuple(Word(found[0]) for found in _WORDS[unit].finditer(text))
    ends, whole = [], ""
    for token in tokens:
        whole += token.text
        ends.append(len(whole))
    words, first = [], 0
    for found in _WORDS[unit].finditer(whole):
        while ends[first] <= found.start():
            first += 1
        last = first
        while ends[last] < found.end():
            last += 1
        mine = tokens[first : last + 1]
        mean = sum(token.logprob for token in mine) / sum(token.llm_tokens for token in mine)
        words.append(Word(found[0], calibration(math.exp(mean))))
    return tuple(words)
