"""A tiny LLM with random weights of every family, with what distinguishes the family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from tests.model import tiny

SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "initializer_range": 0.2, "max_position_embeddings": 4096,
}  # fmt: skip
WINDOW = 6  # shorter than every utterance
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Like Qwen's: no BOS token, and an end token beside that of documents."""
    return tiny.llm_tokenizer()


def bos_tokenizer(bos: str, eos: str) -> PreTrainedTokenizerFast:
    """Like Llama's, Gemma's and Mistral's: texts start with a BOS token; there is no padding token."""
    tokenizer = tiny.byte_tokenizer([bos, eos])
    tokenizer.bos_token, tokenizer.pad_token = bos, None
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def _qwen3(vocabulary: int, eos: int) -> PreTrainedConfig:
    return Qwen3Config(**SIZES, vocab_size=vocabulary, eos_token_id=eos, head_dim=8, tie_word_embeddings=True)


def _qwen2(vocabulary: int, eos: int) -> PreTrainedConfig:
    return Qwen2Config(**SIZES, vocab_size=vocabulary, eos_token_id=eos, tie_word_embeddings=False)


def _llama(vocabulary: int, eos: int) -> PreTrainedConfig:
    return LlamaConfig(
        **SIZES, vocab_size=vocabulary, eos_token_id=[eos, 3], tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE
    )


def _gemma3(vocabulary: int, eos: int) -> PreTrainedConfig:
    return Gemma3TextConfig(
        **SIZES, vocab_size=vocabulary, eos_token_id=eos, head_dim=8, sliding_window=WINDOW, query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip


def _mistral(vocabulary: int, eos: int) -> PreTrainedConfig:
    return MistralConfig(
        **SIZES, vocab_size=vocabulary, eos_token_id=eos, head_dim=12, sliding_window=WINDOW, tie_word_embeddings=False
    )


FAMILIES: dict[str, tuple[Callable[[int, int], PreTrainedConfig], Callable[[], PreTrainedTokenizerFast]]] = {
    "qwen3": (_qwen3, chat_tokenizer),
    "qwen2": (_qwen2, chat_tokenizer),
    "llama": (_llama, lambda: bos_tokenizer("<|begin_of_text|>", "<|eot_id|>")),
    "gemma3_text": (_gemma3, lambda: bos_tokenizer("<bos>", "<eos>")),
    "mistral": (_mistral, lambda: bos_tokenizer("<s>", "</s>")),
}


def write_llm(family: str, directory: Path) -> None:
    """Write the family's model and tokenizer to `directory`."""
    make_config, make_tokenizer = FAMILIES[family]
    tokenizer = make_tokenizer()
    torch.manual_seed(3)
    llm = AutoModelForCausalLM.from_config(make_config(len(tokenizer), tokenizer.eos_token_id))
    tiny.shake_vectors(llm)
    llm.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
