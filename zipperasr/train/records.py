"""Training records: train.jsonl, dev.jsonl, router.jsonl, TensorBoard, plots and a progress bar.

Only rank 0 writes. Lines of steps that a resumed training repeats are removed first, so curves have no duplicates.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from zipperasr.train.images import Images


class Records:
    """Writers of one training directory; they do nothing unless `active`."""

    def __init__(self, out: Path, total_steps: int, start_step: int, active: bool, title: str):
        self.out = out
        self.active = active
        if not active:
            return
        out.mkdir(parents=True, exist_ok=True)
        for path in out.glob("*.jsonl"):  # train, dev, router, skipped
            _drop_after(path, start_step or -1)  # a training that starts over writes step 0 again
        self.images = Images(out)
        self.board = SummaryWriter(out / "tensorboard", purge_step=start_step)
        self.bar = tqdm(total=total_steps, initial=start_step, desc=title, unit="step", mininterval=5)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Advance the progress bar to `step` and show `values`."""
        if self.active:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)

    def write(self, name: str, step: int, values: dict) -> None:
        """Append {step, **values} to <name>.jsonl, and add numbers to TensorBoard."""
        if not self.active:
            return
        path = self.out / f"{name}.jsonl"
        try:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            remedy = "fix this and rerun: training resumes from its last checkpoint"
            raise OSError(f"{path}: cannot write ({error.strerror}); {remedy}") from error
        for key, value in values.items():
            if isinstance(value, int | float):
                self.board.add_scalar(f"{name}/{key}", value, step)

    def draw(self) -> None:
        """Update the plots, unless they are recent."""
        if self.active:
            self.images.draw()

    def say(self, message: str) -> None:
        """Print a line above the progress bar."""
        if self.active:
            self.bar.write(message)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self.bar.close()
            self.board.close()


def _drop_after(path: Path, step: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept), encoding="utf-8")
