"""Outputs of models for the same noise, to compare exported models with ours."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import WhisperModel

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.model.backbones.whisper import WhisperSpeechEncoder
from zipperasr.model.speech_llm import SpeechLLM

TOLERANCE = 1e-5
LENGTHS = (7, 50, 101, 400)  # mel frames


@torch.no_grad()
def ours(model: SpeechLLM, code: str | None, lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    """Output of our encoder in the given language: (frames, d_model)."""
    if code is not None:
        model.adapters.set_batch([code], [1])
    return model.encoder(tiny.random_mel(sum(lengths)), lengths)[0]


@torch.no_grad()
def through_our_encoder(whisper: WhisperModel, lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    """Output of transformers' layers, with or without PEFT's adapters, for segments of any length."""
    return WhisperSpeechEncoder(whisper.encoder).eval()(tiny.random_mel(sum(lengths)), lengths)[0]


@torch.no_grad()
def by_transformers(whisper: WhisperModel) -> Tensor:
    """Output of WhisperEncoder's own forward for 30 s."""
    return whisper.eval().encoder(tiny.random_mel(3000).T[None]).last_hidden_state[0]


@torch.no_grad()
def logits(model: SpeechLLM, code: str | None = None) -> Tensor:
    """Logits of the complete model for packed utterances of one or two languages."""
    german, japanese = tiny.two_packs()
    packs = {None: [german, japanese], "de": [german], "ja": [japanese]}[code]
    return model.eval().packed_logits(collate(packs), 50)


def distance(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return (one - other).abs().max().item()
