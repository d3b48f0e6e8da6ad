"""The encoder's output for each utterance, while a model encodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from zipperasr.model.speech_llm import SpeechLLM


@contextmanager
def encoder_frames(model: SpeechLLM) -> Iterator[list[Tensor]]:
    """Yield a list to which (frames, width), 50 frames per second, is appended for each utterance that is encoded."""
    kept: list[Tensor] = []

    def keep(_projector, inputs: tuple[Any, ...]) -> None:
        hidden, frames = inputs[:2]  # see GatedProjector.forward
        kept.extend(hidden.split(list(frames)))

    handle = model.projector.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
