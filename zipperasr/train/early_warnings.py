"""Facts about data and LLM that explain a training that does not learn, logged before its first step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from zipperasr.batching.manifest import Manifest
from zipperasr.model.prompt import batch_transcript_ids, end_id, end_token

_SAMPLE = 1000  # transcripts of each set that are tokenized


def data_warnings(
    train: Sequence[Manifest], languages: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_positions: int
) -> list[str]:
    """Return one line for each fact: languages without data, utterances that are too long, unknown tokens.

    languages: those of the model.
    """
    present = {code for manifest in train for code in manifest.language_codes[0]}
    without = [code for code in languages if code not in present]
    lines = [f"no training data in {', '.join(without)}"] if without else []
    long = sum(int(manifest.repeat[manifest.positions > max_positions].sum()) for manifest in train)
    total = sum(int(manifest.repeat.sum()) for manifest in train)
    if long:
        lines.append(f"{long:,} of {total:,} utterances are longer than {max_positions} positions and left out")
    share, example = _unknown_tokens(train, tokenizer)
    if share:
        lines.append(f"{share:.1%} of the label tokens are unknown to the tokenizer, as in {example[:60]!r}")
    return lines


def end_token_warning(tokenizer: PreTrainedTokenizerBase, own_ends: Sequence[int]) -> list[str]:
    """Return one line if none of the LLM's own end tokens, by its generation settings, ends the transcripts."""
    if not own_ends or end_id(tokenizer) in own_ends:
        return []
    own = ", ".join(tokenizer.convert_ids_to_tokens(list(own_ends)))
    return [f"transcripts end with {end_token(tokenizer)}; the LLM itself ends texts with {own} and has to learn this"]


def _unknown_tokens(train: Sequence[Manifest], tokenizer: PreTrainedTokenizerBase) -> tuple[float, str]:
    """The share of unknown tokens in a sample of transcripts, and a transcript with one."""
    unknown, total, example = 0, 0, ""
    if tokenizer.unk_token_id is None:
        return 0.0, example
    for manifest in train:
        rows = np.unique(np.linspace(0, len(manifest) - 1, _SAMPLE, dtype=np.int64))
        texts = manifest.table["text"].take(rows).to_pylist()
        for text, ids in zip(texts, batch_transcript_ids(tokenizer, texts), strict=True):
            count = ids.count(tokenizer.unk_token_id)
            unknown, total = unknown + count, total + len(ids)
            example = example or (text if count else "")
    return unknown / max(1, total), example
