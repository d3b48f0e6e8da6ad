"""What models put out for the same noise, so that an exported one can be held against ours."""

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
    """Our encoder in that language: (frames, d_model)."""
    if code is not None:
        model.adapters.set_batch([code], [1])
    return model.encoder(tiny.random_mel(sum(lengths)), lengths)[0]


@torch.no_grad()
def through_our_encoder(whisper: WhisperModel, lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    """transformers' layers, PEFT's around them or not, over segments of any length."""
    return WhisperSpeechEncoder(whisper.encoder).eval()(tiny.random_mel(sum(lengths)), lengths)[0]


@torch.no_grad()
def by_transformers(whisper: WhisperModel) -> Tensor:
    """WhisperEncoder's own forward, over 30 s."""
    return whisper.eval().encoder(tiny.random_mel(3000).T[None]).last_hidden_state[0]


@torch.no_grad()
def logits(model: SpeechLLM, code: str | None = None) -> Tensor:
    """Of the whole model, over packed utterances of one language or of two."""
    german, japanese = tiny.two_packs()
    packs = {None: [german, japanese], "de": [german], "ja": [japanese]}[code]
    return model.eval().packed_logits(collate(packs), 50)


def distance(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return (one - other).abs().max().item()
