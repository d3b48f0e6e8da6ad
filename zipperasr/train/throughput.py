"""Loss, throughput and MFU (model FLOP/s utilisation) of the steps since the last line of train.jsonl."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace

import torch
from torch import distributed

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.batching.batch import PackedBatch

# Dense bf16 peak by a part of CUDA's device name, from the manufacturers' data sheets; the first match counts.
PEAK_BF16_TFLOPS = {
    "A800": 312.0,
    "A100": 312.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
}


@dataclass
class Window:
    """Sums over some steps. Checkpoints save it, so that a resumed training logs the same values."""

    loss: float = 0.0  # over all labels
    labels: float = 0.0
    samples: float = 0.0  # of audio, at 16 kHz
    filled: float = 0.0  # LLM positions that hold a token or a speech embedding
    positions: float = 0.0  # LLM positions that the packs could have held
    seconds: float = 0.0  # without evaluations
    flops: float = 0.0  # that the steps needed; 0 if the peak of the device is not known

    @classmethod
    def restore(cls, saved: Mapping[str, float]) -> Window:
        """Raises ValueError for unknown or missing fields, except that older checkpoints have no `flops`."""
        wanted = [field.name for field in fields(cls)]
        if {*saved, "flops"} != set(wanted):
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
        flops_of_batch: (batch, mel frames of a chunk) -> FLOPs of a training step on it.
        peak_tflops: of this rank's device; None leaves out MFU.
    """

    def __init__(
        self,
        max_positions: int,
        saved: Window | None = None,
        *,
        flops_of_batch: Callable[[PackedBatch, int | None], float] = lambda batch, chunk_frames: 0.0,
        peak_tflops: float | None = None,
    ):
        self._max_positions, self._saved = max_positions, saved or Window()
        self._flops_of_batch, self._peak_tflops = flops_of_batch, peak_tflops

    def start(self) -> None:
        """Start the clock, with the saved window."""
        self.reset()
        self._since -= self._saved.seconds
        if distributed.get_rank() == 0:  # the saved window holds the sums of all ranks
            self._window = replace(self._saved)

    def reset(self) -> None:
        """Begin a new window."""
        self._window, self._since = Window(), time.monotonic()

    def add_batch(self, batch: PackedBatch, chunk_frames: int | None) -> None:
        self._window.samples += batch.num_samples
        self._window.filled += batch.num_positions
        self._window.positions += batch.num_packs * self._max_positions
        if self._peak_tflops is not None:
            self._window.flops += self._flops_of_batch(batch, chunk_frames)

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

    def mfu(self, window: Window) -> float | None:
        """FLOPs that the steps needed, as a share of the peak of all ranks' devices; None if it is not known."""
        if self._peak_tflops is None:
            return None
        return window.flops / max(window.seconds, 1e-9) / (self._peak_tflops * 1e12 * distributed.get_world_size())


def peak_tflops(precision: str) -> float | None:
    """Peak of the current GPU; None if it is not in the table or the precision is not bf16."""
    if precision != "bf16" or not torch.cuda.is_available():
        return None
    device = torch.cuda.get_device_name()
    return next((tflops for name, tflops in PEAK_BF16_TFLOPS.items() if name in device), None)


def peak_memory_gb() -> float:
    """Peak GPU memory if there is a GPU, else the peak resident memory of this process, in GB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
