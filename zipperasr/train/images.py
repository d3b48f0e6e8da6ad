"""Training curves as ESPnet's Reporter plots them: images/loss.png and others.

In: train.jsonl and dev.jsonl. Out: one plot per quantity. The Reporter's epochs are the intervals between evaluations,
and its "valid" curve is the dev set.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

from zipperasr.cli import log

IMAGES = "images"
SECONDS_BETWEEN = 30.0  # minimum time between two plots, which take about a second
DRAWN = ("loss", "lr", "grad_norm", "audio_s_per_s", "fill")


class Images:
    """Plots on demand, at most once every `SECONDS_BETWEEN`."""

    def __init__(self, out: Path):
        self._out, self._drawn_at = out, time.monotonic()

    def draw(self) -> bool:
        """Plot the records so far unless the last plot is too recent. Returns whether it did."""
        if time.monotonic() - self._drawn_at < SECONDS_BETWEEN:
            return False
        self._drawn_at = time.monotonic()
        if find_spec("espnet2") is None:
            self._drawn_at = math.inf
            log(f"{self._out / IMAGES}: no plots, since espnet is not installed; run tools/install_espnet.sh")
            return False
        draw_images(self._out)
        return True


def draw_images(out: Path) -> None:
    """Write out/images from out/train.jsonl and out/dev.jsonl. Does nothing before the first evaluation."""
    from espnet2.train.reporter import Reporter

    train, dev = (_lines(out / f"{name}.jsonl") for name in ("train", "dev"))
    reporter = Reporter()
    for epoch, (start, evaluation) in enumerate(zip([0, *(line["step"] for line in dev)], dev, strict=False), 1):
        reporter.set_epoch(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no line of train.jsonl between two evaluations
            with reporter.observe("train") as observed:
                for line in train:
                    if start < line["step"] <= evaluation["step"]:
                        observed.register({name: line[name] for name in DRAWN if name in line})
                        observed.next()
            with reporter.observe("valid") as observed:
                observed.register({name: value for name, value in evaluation.items() if name != "step"})
                observed.next()
    for stats in (kind for epoch in reporter.stats.values() for kind in epoch.values()):
        del stats["time"], stats["total_count"]  # they measure reading these files, not training
    if dev:
        reporter.matplotlib_plot(out / IMAGES)


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
