"""Loss and throughput of the steps since the last line of train.jsonl."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace

import torch
from torch import distributed

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.batching.batch import PackedBatch


@dataclass
class Window:
    """Sums over some steps. Checkpoints save it, so that a resumed training logs the same values."""

    loss: float = 0.0  # over all labels
    labels: float = 0.0
    samples: float = 0.0  # of audio, at 16 kHz
    filled: float = 0.0  # LLM positions that hold a token or a speech embedding
    positions: float = 0.0  # LLM positions that the packs could have held
    seconds: float = 0.0  # without evaluations

    @classmethod
    def restore(cls, saved: Mapping[str, float]) -> Window:
        """Raises ValueError if `saved` has other fields than a window of this version."""
        wanted = [field.name for field in fields(cls)]
        if set(saved) != set(wanted):
            raise ValueError(f"its log window has {', '.join(saved) or 'no fields'}, wanted {', '.join(wanted)}")
        return cls(**saved)

    @property
    def loss_per_label(self) -> float | None:
        """None if every step was skipped."""
        return self.loss / self.labels if self.labels else None

    def throughput(self) -> dict[str, float]:
        """Values for logs: speech seconds and LLM positions per second, and the fill rate of the packs."""
        seconds = max(self.seconds, 1e-9)
        return {
            "audio_s_per_s": self.samples / SAMPLE_RATE / seconds,
            "tokens_per_s": self.filled / seconds,
            "fill": self.filled / self.positions if self.positions else 0.0,
        }


class ThroughputMeter:
    """Sums what this rank does; `of_all_ranks` adds up the ranks.

    Args:
        max_positions: LLM positions of a full pack.
        saved: window of the checkpoint that the training resumes from.
    """

    def __init__(self, max_positions: int, saved: Window | None = None):
        self._max_positions, self._saved = max_positions, saved or Window()

    def start(self) -> None:
        """Start the clock, with the saved window."""
        self.reset()
        self._since -= self._saved.seconds
        if distributed.get_rank() == 0:  # the saved window holds the sums of all ranks
            self._window = replace(self._saved)

    def reset(self) -> None:
        """Begin a new window."""
        self._window, self._since = Window(), time.monotonic()

    def add_batch(self, batch: PackedBatch) -> None:
        self._window.samples += batch.num_samples
        self._window.filled += batch.num_positions
        self._window.positions += batch.num_packs * self._max_positions

    def add_loss(self, loss: float, labels: float) -> None:
        """loss: sum over the labels of a step that was applied."""
        self._window.loss += loss
        self._window.labels += labels

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock, for an evaluation."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def of_this_rank(self) -> Window:
        return replace(self._window, seconds=time.monotonic() - self._since)

    def of_all_ranks(self, device: torch.device) -> Window:
        """The sums over the global batches; all ranks must call it. device: for the all-reduce."""
        seconds = time.monotonic() - self._since
        sums = torch.tensor(astuple(self._window), dtype=torch.float64, device=device)
        distributed.all_reduce(sums)
        return replace(Window(*sums.tolist()), seconds=seconds)


def peak_memory_gb() -> float:
    """Peak GPU memory if there is a GPU, else the peak resident memory of this process, in GB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
