"""Beam search over batches of unequal length: transformers' generate, fed with embeddings.

In: examples without transcripts. Out: one text each. Inputs are padded on the left and masked, and every
utterance has its own length bound, so its text does not depend on its batch. With one beam it is what greedy.py is
tested against.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.device import to_device
from zipperasr.model.prompt import end_id, hypothesis_text
from zipperasr.model.speech_llm import SpeechLLM


class LengthBound(LogitsProcessor):
    """Forces the end token once an utterance has as many tokens as its audio allows."""

    def __init__(self, bounds: Sequence[int], stop: int, beams: int, device: torch.device):
        self.bounds = to_device(torch.tensor(bounds), device).repeat_interleave(beams)
        self.stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = input_ids.shape[1] >= self.bounds
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.stop] = 0.0
        return torch.where(over[:, None], forced, scores)


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
    inputs, mask = left_padded(model, examples, speech.split(counts))
    bounds = [max_new_tokens(example.num_samples, config) for example in examples]
    output = model.llm.generate(
        inputs_embeds=inputs,
        attention_mask=mask,
        generation_config=_generation_config(model, tokenizer, config, max(bounds)),
        logits_processor=LogitsProcessorList([LengthBound(bounds, end_id(tokenizer), config.beam, device)]),
    )
    return [hypothesis_text(tokenizer, ids) for ids in output.tolist()]


def max_new_tokens(num_samples: int, config: DecodeConfig) -> int:
    """The most tokens that the audio can hold."""
    return config.tokens_floor + int(config.tokens_per_s * num_samples / 16_000)


def stop_ids(model: SpeechLLM, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a text: the end token of training, and those in the LLM's own generation settings."""
    return sorted({end_id(tokenizer), *model.llm_family.end_ids(model.causal_lm)})


def left_padded(model: SpeechLLM, examples: Sequence[Example], speech: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Prompt and speech of each example as generate wants them: (examples, positions, width), and which positions."""
    embed = model.causal_lm.get_input_embeddings()
    rows = [
        torch.cat([embed(to_device(torch.tensor(example.prompt), part.device)), part.to(embed.weight.dtype)])
        for example, part in zip(examples, speech, strict=True)
    ]
    longest = max(len(row) for row in rows)
    inputs = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=inputs.device)
    for number, row in enumerate(rows):
        inputs[number, longest - len(row) :] = row
        mask[number, longest - len(row) :] = 1
    return inputs, mask


def _generation_config(model: SpeechLLM, tokenizer, config: DecodeConfig, longest: int) -> GenerationConfig:
    """The settings of this recipe alone: those published with an LLM may sample."""
    return GenerationConfig(
        max_new_tokens=longest + 1,  # with the end token that LengthBound forces
        do_sample=False,
        num_beams=config.beam,
        length_penalty=config.length_penalty,
        eos_token_id=stop_ids(model, tokenizer),
        pad_token_id=end_id(tokenizer) if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        use_cache=True,
    )
