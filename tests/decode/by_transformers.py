"""Texts that transformers' generate finds, without merging: the reference for greedy search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.beam import after_prompts, beam_search, max_new_tokens
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.model.speech_llm import SpeechLLM


@torch.inference_mode()
def transcribe_batch(
    model: SpeechLLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    chunk_frames: int | None,
    config: DecodeConfig,
) -> list[str]:
    """Texts of `examples`, in order. Only each language's rows must stand together: sort by language for speed."""
    device = model.causal_lm.device
    speech, counts = model.embed_speech(collate_speech(examples, model.encoder.frontend).to(device), chunk_frames)
    rows = after_prompts(model, examples, speech.split(counts))
    bounds = [max_new_tokens(example.num_samples, config) for example in examples]
    return [found.text for found in beam_search(model, tokenizer, rows, bounds, config)]
