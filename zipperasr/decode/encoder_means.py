"""Utterance embeddings of a decoded test set: means over the encoder frames (the paper's Fig. 8).

In: a model while it decodes. Out: <decode_dir>/<test set>/encoder_means.ark, Kaldi vectors (d_model,) by utterance id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kaldiio
import numpy as np
import torch

from zipperasr.audio.ark import read_vectors

if TYPE_CHECKING:
    from zipperasr.model.speech_llm import SpeechLLM

FILE = "encoder_means.ark"
PER_SET = 100  # largest number of utterances per test set; more do not make the figure clearer


@contextmanager
def encoder_means(model: SpeechLLM) -> Iterator[list[np.ndarray]]:
    """Yield a list to which one float32 vector is appended for each utterance that the model encodes."""
    means: list[np.ndarray] = []

    def keep(_projector, inputs: tuple[Any, ...]) -> None:
        hidden, frames = inputs[:2]  # see GatedProjector.forward
        of_each = [part.float().mean(0) for part in hidden.split(list(frames))]
        means.extend(torch.stack(of_each).cpu().numpy())  # one copy, since each waits for the device

    handle = model.projector.register_forward_pre_hook(keep)
    try:
        yield means
    finally:
        handle.remove()


def chosen(utt_ids: Sequence[str]) -> set[str]:
    """At most PER_SET ids, evenly spaced."""
    return set(utt_ids[:: max(1, -(-len(utt_ids) // PER_SET))])


def write_means(path: Path, means: Mapping[str, np.ndarray]) -> None:
    """Write means in the order of the ids."""
    kaldiio.save_ark(str(path), dict(sorted(means.items())))


def read_means(path: Path) -> dict[str, np.ndarray]:
    """{utterance id: vector}; {} if there is no file."""
    return dict(read_vectors(path)) if path.is_file() else {}
