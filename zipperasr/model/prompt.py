"""Token ids of prompts and transcripts, the same in training and decoding.

A sequence is prompt, speech, transcript, end token (Eq. 3, 4). There is no chat template and no thinking block.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from zipperasr.languages import Language
from zipperasr.model.backbones import LLMS


def prompt_ids(tokenizer: PreTrainedTokenizerBase, language: Language) -> list[int]:
    """Token ids of the instruction, in the language of the speech, after the BOS token of tokenizers that add one."""
    ids = tokenizer(language.prompt, add_special_tokens=False)["input_ids"]
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return [tokenizer.bos_token_id, *ids] if starts_with_bos else ids


def transcript_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of the transcript and the end token; all of these positions are labels."""
    return batch_transcript_ids(tokenizer, [text])[0]


def batch_transcript_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """`transcript_ids` of each text. The name of a special token inside a transcript is treated as text."""
    end = end_id(tokenizer)
    return [[*ids, end] for ids in tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def hypothesis_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of decoded tokens without added tokens, which include `<think>` and others not marked as special."""
    added = tokenizer.added_tokens_decoder
    return tokenizer.decode([token_id for token_id in ids if token_id not in added]).strip()


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of `end_token`."""
    return tokenizer.convert_tokens_to_ids(end_token(tokenizer))


def end_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """The first of the known LLMs' own end tokens that the tokenizer has, or else its EOS token.

    Raises ValueError if there is none.
    """
    known = list(dict.fromkeys(llm.end_token for llm in LLMS.values() if llm.end_token is not None))
    for token in (*known, tokenizer.eos_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in (None, tokenizer.unk_token_id):
            return token
    raise ValueError(
        f"tokenizer {tokenizer.name_or_path}: no {' or '.join(known)} and no EOS token; wanted the tokenizer of an LLM"
    )
