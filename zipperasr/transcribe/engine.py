"""Open a trained model for its engine: own, or vllm, which takes over the LLM."""

from __future__ import annotations

from pathlib import Path

import torch

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import num_positions
from zipperasr.decode.beam import max_new_tokens
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.vllm_search import VllmSearch, import_vllm
from zipperasr.exchange.pretrained import Pretrained, load_pretrained
from zipperasr.model.experiment import Experiment
from zipperasr.model.prompt import prompt_ids
from zipperasr.transcribe.pauses import LEAST_LONGEST_S, LONGEST_S

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_for_engine(path: str | Path, config: DecodeConfig) -> tuple[Pretrained, VllmSearch | None]:
    """Open a training directory or a bundle, in main memory.

    Raises FileNotFoundError or ValueError if it is incomplete or damaged, or vLLM is needed but not installed.
    """
    if config.engine != "vllm":
        return load_pretrained(path, DTYPES[config.precision]), None
    import_vllm()  # first, in case it is missing
    opened = load_pretrained(path, DTYPES[config.precision])
    return opened, VllmSearch(opened.model, config, _positions(opened, config))


def longest_piece_s(experiment: Experiment) -> float:
    """Seconds of the longest piece of a recording: that of the training clips, within limits."""
    return min(LONGEST_S, max(LEAST_LONGEST_S, experiment.longest_s or LONGEST_S))


def _positions(opened: Pretrained, config: DecodeConfig) -> int:
    """Positions of the LLM that suffice for any piece: prompt, speech, and a text of the largest length."""
    num_samples = int(longest_piece_s(opened.experiment) * SAMPLE_RATE)
    prompt = max(len(prompt_ids(opened.tokenizer, language)) for language in opened.languages)
    return prompt + num_positions(num_samples) + max_new_tokens(num_samples, config)
