"""Beam search over batches of unequal length: transformers' generate, fed with embeddings.

In: prompts and speech as embeddings. Out: one text each, and an n-best list if asked for. Inputs are padded on the left
and masked, and every utterance has its own length bound, so its text does not depend on its batch. In tests, greedy.py
is compared with it, with one beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from zipperasr.batching.batch import Example
from zipperasr.decode.alternatives import Alternative, Alternatives, distinct
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.device import to_device
from zipperasr.model.prompt import end_id, hypothesis_text
from zipperasr.model.speech_llm import SpeechLLM

UNFINISHED = -1e8  # generate's score of a place in the list that no finished text has taken is -1e9


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


class FreeLogProbs(StoppingCriteria):
    """Never stops; frees each step's log-probabilities, (rows, vocabulary), which generate keeps with the scores."""

    def __call__(self, input_ids: Tensor, scores: tuple[Tensor, ...] | None, **_: object) -> Tensor:
        if scores:
            scores[-1].data = scores[-1].new_empty(0)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Found(NamedTuple):
    """What the search found for an utterance."""

    text: str
    alternatives: Alternatives = ()  # if config.nbest > 1


@torch.inference_mode()
def beam_search(
    model: SpeechLLM,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Tensor],
    bounds: Sequence[int],
    config: DecodeConfig,
) -> list[Found]:
    """Search a batch. rows: prompt and speech, each (positions, LLM width). bounds: most tokens of each text."""
    inputs, mask = left_padded(rows)
    output = model.llm.generate(
        inputs_embeds=inputs,
        attention_mask=mask,
        generation_config=_generation_config(model, tokenizer, config, max(bounds)),
        logits_processor=LogitsProcessorList([LengthBound(bounds, end_id(tokenizer), config.beam, inputs.device)]),
        stopping_criteria=StoppingCriteriaList([FreeLogProbs()]),
    )
    texts = [hypothesis_text(tokenizer, ids) for ids in output.sequences.tolist()]
    if config.nbest == 1:
        return [Found(text) for text in texts]
    every = [Alternative(*one) for one in zip(texts, output.sequences_scores.tolist(), strict=True)]
    lists = [
        distinct((one for one in every[start : start + config.beam] if one.score > UNFINISHED), config.nbest)
        for start in range(0, len(every), config.beam)
    ]
    # without a finite score, as of embeddings that are not numbers, there is no text
    return [Found(found[0].text if found else "", found) for found in lists]


def max_new_tokens(num_samples: int, config: DecodeConfig) -> int:
    """The most tokens that the audio can hold."""
    return config.tokens_floor + int(config.tokens_per_s * num_samples / 16_000)


def stop_ids(model: SpeechLLM, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a text: the end token of training, and those in the LLM's own generation settings."""
    return sorted({end_id(tokenizer), *model.llm_family.end_ids(model.causal_lm)})


def after_prompts(model: SpeechLLM, examples: Sequence[Example], speech: Sequence[Tensor]) -> list[Tensor]:
    """Embeddings of each example's prompt, followed by its speech: (positions, LLM width)."""
    embed = model.causal_lm.get_input_embeddings()
    return [
        torch.cat([embed(to_device(torch.tensor(example.prompt), part.device)), part.to(embed.weight.dtype)])
        for example, part in zip(examples, speech, strict=True)
    ]


def left_padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows as generate wants them: (rows, positions, width), and which positions are not padding."""
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
        num_return_sequences=config.beam if config.nbest > 1 else 1,  # some may have the same text
        length_penalty=config.length_penalty,
        return_dict_in_generate=True,
        output_scores=config.nbest > 1,
        eos_token_id=stop_ids(model, tokenizer),
        pad_token_id=end_id(tokenizer) if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        use_cache=True,
    )
