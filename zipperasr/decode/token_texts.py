"""Divide a decoded text between its tokens, also where tokens contain parts of characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer decodes part of a character to


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[tuple[int, str]]:
    """Return the smallest runs of tokens with whole characters: the number of tokens in each and their text.

    The texts together are `tokenizer.decode(ids)`. A text with bytes that are no character may be a single run, because
    some tokenizers decode such bytes by what follows them.
    """
    runs, whole = list(_runs(tokenizer, ids)), tokenizer.decode(ids)
    return runs if "".join(text for _, text in runs) == whole else [(len(ids), whole)]


def _runs(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Each run is decoded together with the one before it, which decides about a space between them."""
    before, start = 0, 0
    for end in range(1, len(ids) + 1):
        known = tokenizer.decode(ids[before:start])
        text = tokenizer.decode(ids[before:end])[len(known) :]
        if not text.endswith(_INCOMPLETE) or end == len(ids):
            yield end - start, text
            before, start = start, end
