"""The training loop: one optimiser step per global batch, loss divided by the labels of all ranks.

In: engine, plan, loader. Out: a trained model, its records and its checkpoints. What happens in step i (batch,
chunk length, learning rate) follows from (seed, i) alone.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, distributed

from zipperasr.audio.segments import segment_frames
from zipperasr.batching.batch import PackedBatch
from zipperasr.batching.loader import MicroBatches, TrainingPlan, prefetched
from zipperasr.model.model_config import ModelConfig
from zipperasr.train.best import BestWeights
from zipperasr.train.checkpoints import Checkpoints
from zipperasr.train.evaluate import dev_losses
from zipperasr.train.interruption import Interrupted, Interruption, ignore_in_worker
from zipperasr.train.records import Records, peak_memory_gb
from zipperasr.train.step_guard import StepGuard
from zipperasr.train.train_config import TrainConfig
from zipperasr.train.watchdog import Watchdog

_SUMS = ("loss", "labels", "samples", "filled", "positions")  # what a line of train.jsonl is made of


@dataclass
class Trainer:
    """Everything one training needs; `run` goes from the last checkpoint to the end."""

    engine: torch.nn.Module
    optimiser: torch.optim.Optimizer
    plan: TrainingPlan
    train_data: MicroBatches
    dev_data: MicroBatches | None  # this rank's share of the dev packs, perhaps none of them; None: no dev set at all
    dev_languages: list[str]  # of all ranks' dev packs
    config: TrainConfig
    model_config: ModelConfig
    regime: str
    seed: int
    out: Path
    checkpoints: Checkpoints
    start_step: int = 0
    window: dict[str, float] = field(default_factory=dict)  # sums since the last line of train.jsonl

    def __post_init__(self) -> None:
        self.guard = StepGuard(self.engine, self.out, self.config.max_skipped)
        if self.dev_data is not None:
            self.dev_batches = prefetched(self.dev_data, 0, self.config.num_workers, ignore_in_worker)

    @property
    def model(self):
        return self.engine.module

    def run(self) -> dict[str, Tensor] | None:
        """Train to the end of the plan, or until the dev loss no longer falls (early_stop).

        Returns (rank 0) the mean of the best weights, None where the last ones are wanted. Raises Interrupted when
        asked to stop.
        """
        rank = distributed.get_rank()
        with (
            Interruption() as interruption,
            Watchdog(self.config.watchdog_s, rank) as watchdog,
            Records(self.out, len(self.plan), self.start_step, rank == 0, self.out.name) as records,
        ):
            best = BestWeights(self.out, self.config.average_best, self.config.early_stop, self.start_step)
            first = self.start_step * self.config.accumulation
            batches = iter(prefetched(self.train_data, first, self.config.num_workers, ignore_in_worker))
            self._restore_window()
            if self.config.eval_first and not self.start_step:
                self._evaluate(records, 0, best)
            for step in range(self.start_step, len(self.plan)):
                if interruption.wanted():
                    self._save_checkpoint(step)
                    raise Interrupted(step)
                self.engine.train()
                loss = self._step(step, batches)
                watchdog.beat(step + 1)
                if self._after_step(step + 1, loss, records, best):
                    break
            return best.mean() if rank == 0 else None

    def _after_step(self, done: int, loss: float, records: Records, best: BestWeights) -> bool:
        """Log, evaluate and save as the configuration says; returns whether training ends here."""
        records.step(done, {"loss": loss, **self._pace(), "GB": peak_memory_gb()})
        last = done == len(self.plan)
        evaluated = last or bool(self.config.eval_every and done % self.config.eval_every == 0)
        if evaluated:
            self._evaluate(records, done, best)
            if best.wants_to_stop():
                records.say(f"step {done}: no better dev loss in {self.config.early_stop} evaluations: training ends")
                last = True
        if done % self.config.log_every == 0 or last:
            self._log(records, done)
        if evaluated:
            records.draw()
        if self.config.save_every and done % self.config.save_every == 0 and not last:
            self._save_checkpoint(done)
        return last

    def _save_checkpoint(self, step: int) -> None:
        seconds = time.monotonic() - self.window["since"]
        self.checkpoints.save(step, {**self._window_of_all_ranks(), "seconds": seconds})

    def _step(self, step: int, batches) -> float:
        """Forward, backward and update on global batch `step`. Returns the loss per label of this rank."""
        self._prepare_update(step)
        chunk_frames = self.chunk_frames(step)
        scale = distributed.get_world_size() * self.config.accumulation / self.plan.num_tokens(step)
        loss_sum, weight = torch.zeros((), dtype=torch.float64, device=self.engine.device), 0.0
        with self.guard.watching(step) as seen:
            for _ in range(self.config.accumulation):
                batch: PackedBatch = next(batches)
                seen.append(batch)
                batch = batch.to(self.engine.device)
                loss, _, labels = self.engine(batch, chunk_frames)
                self.engine.backward(loss * scale)
                self.engine.step()
                loss_sum += loss.detach()
                weight += labels.item()  # a tensor on the CPU, unlike the loss
                self.window["samples"] += batch.num_samples
                self.window["filled"] += batch.num_positions
                self.window["positions"] += batch.num_packs * self.model_config.max_positions
            loss_sum = loss_sum.item()  # the host waits for the device here, and nowhere else but in the optimiser
        if self.guard.was_applied(step, seen, loss_sum / weight):
            if self.model.adapters is not None:
                self.model.adapters.after_step()
            self.window["loss"] += loss_sum
            self.window["labels"] += weight
        return loss_sum / weight

    def _prepare_update(self, step: int) -> None:
        lr = self.config.lr * lr_factor(step, len(self.plan), self.config.warmup_ratio)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["lr_factor"]
        if self.model.adapters is not None:
            self.optimiser.set_present(self.model.adapters.bank(code) for code in self.plan.languages(step))

    def chunk_frames(self, step: int | None = None) -> int | None:
        """Mel frames per chunk: drawn anew for each global step, equal on all ranks; fixed outside training."""
        if self.regime == "full":
            return None
        if step is None:
            return segment_frames(self.model_config.decode_chunk_s)
        return segment_frames(random.Random(f"chunk {self.seed} {step}").choice(self.model_config.train_chunk_s))

    def _log(self, records: Records, step: int) -> None:
        seconds = time.monotonic() - self.window["since"]
        sums = self._window_of_all_ranks()
        norm = float(self.engine.get_global_grad_norm() or 0.0)
        values = {
            "loss": round(sums["loss"] / sums["labels"], 5) if sums["labels"] else None,  # every step was skipped
            "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": round(norm, 5) if math.isfinite(norm) else None,
            "seconds": round(seconds, 3),
            "audio_s_per_s": round(sums["samples"] / 16_000 / seconds, 2),
            "fill": round(sums["filled"] / sums["positions"], 4),
            "peak_gb": round(peak_memory_gb(), 3),  # of rank 0
        }
        records.write("train", step, values)
        self._reset_window()

    def _window_of_all_ranks(self) -> dict[str, float]:
        """The window's sums over the global batches: a single rank sees a few languages only."""
        sums = torch.tensor([self.window[name] for name in _SUMS], dtype=torch.float64, device=self.engine.device)
        distributed.all_reduce(sums)
        return dict(zip(_SUMS, sums.tolist(), strict=True))

    def _reset_window(self) -> None:
        self.window = dict.fromkeys(_SUMS, 0.0)
        self.window["since"] = time.monotonic()

    def _restore_window(self) -> None:
        """A resumed run's next line of train.jsonl is made of the same steps as an unbroken run's."""
        saved = self.window
        self._reset_window()
        self.window["since"] -= saved.get("seconds", 0.0)
        if distributed.get_rank() == 0:  # it holds the sums of all ranks
            self.window.update({name: value for name, value in saved.items() if name in _SUMS})

    def _pace(self) -> dict[str, float]:
        """What the bar shows of the window, of this rank."""
        seconds = time.monotonic() - self.window["since"]
        if not self.window["positions"]:
            return {}
        pace = self.window["samples"] * distributed.get_world_size() / 16_000 / max(seconds, 1e-9)
        return {"audio_s/s": pace, "fill": self.window["filled"] / self.window["positions"]}

    def _evaluate(self, records: Records, step: int, best: BestWeights) -> None:
        since = time.monotonic()
        if self.dev_data is not None:
            losses = dev_losses(self.engine, self.dev_batches, self.dev_languages, self.chunk_frames())
            records.write("dev", step, losses)
            records.say(f"step {step}: dev loss {losses['loss']:.4f}")
            best.add(step, losses["loss"], self.model, distributed.get_rank() == 0)
        adapters = self.model.adapters
        if adapters is not None and adapters.router is not None:
            means = adapters.specific_shares().mean(-1).T.tolist()  # (languages, layers)
            p = {code: [round(x, 5) for x in row] for code, row in zip(adapters.language_codes, means, strict=True)}
            records.write("router", step, {"p": p})
        self.window["since"] += time.monotonic() - since


def lr_factor(step: int, total: int, warmup_ratio: float) -> float:
    """Linear warm-up over warmup_ratio of the steps, then half a cosine to zero. step counts from 0."""
    warmup = max(1, round(total * warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
