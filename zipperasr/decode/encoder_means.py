"""Utterance embeddings of a decoded test set: the mean over an utterance's encoder frames (the paper's Fig. 8).

In: a model while it decodes. Out: <decode_dir>/<test set>/encoder_means.ark, Kaldi vectors (d_model,) by utterance id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import kaldiio
import numpy as np
import torch
from torch import Tensor

from zipperasr.audio.ark import read_vectors
from zipperasr.model.speech_llm import SpeechLLM

FILE = "encoder_means.ark"
PER_SET = 100  # utterances of a test set, at most: the figure is no clearer for more


@contextmanager
def encoder_means(model: SpeechLLM) -> Iterator[list[np.ndarray]]:
    """Yields a list that grows by one float32 vector for each utterance that the model encodes."""
    means: list[np.ndarray] = []

    def keep(_projector, inputs: tuple[Tensor, Sequence[int]]) -> None:
        hidden, frames = inputs
        of_each = [part.float().mean(0) for part in hidden.split(list(frames))]
        means.extend(torch.stack(of_each).cpu().numpy())  # one copy for all: each waits for the device

    handle = model.projector.register_forward_pre_hook(keep)
    try:
        yield means
    finally:
        handle.remove()


def chosen(utt_ids: Sequence[str]) -> set[str]:
    """At most PER_SET of them, evenly spread."""
    return set(utt_ids[:: max(1, -(-len(utt_ids) // PER_SET))])


def write_means(path: Path, means: Mapping[str, np.ndarray]) -> None:
    """In the order of the ids."""
    kaldiio.save_ark(str(path), dict(sorted(means.items())))


def read_means(path: Path) -> dict[str, np.ndarray]:
    """{utterance id: vector}; an absent file has none."""
    return dict(read_vectors(path)) if path.is_file() else {}
