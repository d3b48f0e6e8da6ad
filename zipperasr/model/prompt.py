"""The text around the speech: one function for training and decoding, so that the two cannot differ.

A sequence is prompt, speech, transcript, end token (Eq. 3, 4). No chat template, no thinking block.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from zipperasr.languages import Language

END_TOKEN = "<|im_end|>"


def prompt_ids(tokenizer: PreTrainedTokenizerBase, language: Language) -> list[int]:
    """The instruction in the language of the speech."""
    return tokenizer(language.prompt, add_special_tokens=False)["input_ids"]


def transcript_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The transcript with its end token; every one of these positions is a label."""
    return batch_transcript_ids(tokenizer, [text])[0]


def batch_transcript_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """`transcript_ids` of each text. The name of a special token in a transcript is text, not that token."""
    end = end_id(tokenizer)
    return [[*ids, end] for ids in tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def hypothesis_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of decoded tokens, without added tokens: Qwen3's `<think>` and `<tool_call>` are not marked special."""
    added = tokenizer.added_tokens_decoder
    return tokenizer.decode([token_id for token_id in ids if token_id not in added]).strip()


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the end token. Raises ValueError if the tokenizer has none."""
    token_id = tokenizer.convert_tokens_to_ids(END_TOKEN)
    if token_id is None or token_id == tokenizer.unk_token_id:
        raise ValueError(f"tokenizer {tokenizer.name_or_path}: no {END_TOKEN} token; wanted a Qwen3 tokenizer")
    return token_id
