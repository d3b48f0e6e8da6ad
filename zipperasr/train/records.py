"""What a training leaves to be looked at: train.jsonl, dev.jsonl, router.jsonl, TensorBoard, images, a progress bar.

Only rank 0 writes. Lines of a step that a resumed run repeats are dropped first, so curves have no doubled points.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from zipperasr.train.images import Images


class Records:
    """Writers of one training directory; silent on other ranks."""

    def __init__(self, out: Path, total_steps: int, start_step: int, active: bool, title: str):
        self.out = out
        self.active = active
        if not active:
            return
        out.mkdir(parents=True, exist_ok=True)
        for path in out.glob("*.jsonl"):  # train, dev, router, skipped
            _drop_after(path, start_step or -1)  # what stands at step 0 comes again with it
        self.images = Images(out)
        self.board = SummaryWriter(out / "tensorboard", purge_step=start_step)
        self.bar = tqdm(total=total_steps, initial=start_step, desc=title, unit="step", mininterval=5)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Move the bar on by one step and show `values`."""
        if self.active:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)

    def write(self, name: str, step: int, values: dict) -> None:
        """Append {step, **values} to <name>.jsonl; numbers go to TensorBoard too."""
        if not self.active:
            return
        path = self.out / f"{name}.jsonl"
        try:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            remedy = "mend that and start again: training goes on from its last checkpoint"
            raise OSError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
        for key, value in values.items():
            if isinstance(value, int | float):
                self.board.add_scalar(f"{name}/{key}", value, step)

    def draw(self) -> None:
        """Bring the images up to date, if they are not quite new."""
        if self.active:
            self.images.draw()

    def say(self, message: str) -> None:
        """A line above the bar."""
        if self.active:
            self.bar.write(message)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self.bar.close()
            self.board.close()


def peak_memory_gb() -> float:
    """Peak GPU memory where there is a GPU, else this process's peak resident memory, in GB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _drop_after(path: Path, step: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept), encoding="utf-8")
