"""The training loop: one optimiser step per global batch, with the loss divided by the labels of all ranks.

In: engine, data, schedule. Out: a trained model, its records and its checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from zipperasr.batching.batch import PackedBatch
from zipperasr.batching.loader import MicroBatches, TrainingPlan, prefetched
from zipperasr.train.checkpoints import Checkpoints
from zipperasr.train.dev_loss import BestWeights, dev_losses
from zipperasr.train.interruption import Interrupted, Interruption, ignore_in_worker
from zipperasr.train.records import Records
from zipperasr.train.schedule import Schedule
from zipperasr.train.step_guard import StepGuard
from zipperasr.train.throughput import ThroughputMeter, peak_memory_gb
from zipperasr.train.train_config import TrainConfig
from zipperasr.train.watchdog import Watchdog


@dataclass(frozen=True)
class TrainingData:
    """What is trained and evaluated on.

    Attributes:
        plan: global batches of all steps, equal on all ranks.
        train: this rank's share of them.
        dev: this rank's share of the dev packs.
        dev_languages: languages of all ranks' dev packs; empty if there is no dev set.
    """

    plan: TrainingPlan
    train: MicroBatches
    dev: MicroBatches
    dev_languages: tuple[str, ...]


class Trainer:
    """Trains from the last checkpoint to the end of the schedule.

    Args:
        engine: DeepSpeed's engine around the model.
        optimiser: the `LanguageAdamW` inside it.
        out: training directory.
        start_step: number of steps finished by the loaded checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        engine: torch.nn.Module,
        *,
        optimiser: torch.optim.Optimizer,
        data: TrainingData,
        schedule: Schedule,
        meter: ThroughputMeter,
        checkpoints: Checkpoints,
        out: Path,
        start_step: int = 0,
    ):
        self.config, self.engine, self.optimiser = config, engine, optimiser
        self.data, self.schedule, self.meter = data, schedule, meter
        self.checkpoints, self.out, self.start_step = checkpoints, out, start_step
        self.guard = StepGuard(engine, out, config.max_skipped)

    @property
    def model(self):
        return self.engine.module

    def run(self) -> dict[str, Tensor] | None:
        """Train to the end of the schedule, or until the dev loss stops improving (`early_stop`).

        Returns the mean of the best weights on rank 0; None if the last weights are the result (`average_best: 0`).
        Raises Interrupted after SIGTERM, once a checkpoint is saved.
        """
        rank = distributed.get_rank()
        with (
            Interruption() as interruption,
            Watchdog(self.config.watchdog_s, rank) as watchdog,
            Records(self.out, self.schedule.num_steps, self.start_step, rank == 0, self.out.name) as records,
        ):
            best = BestWeights(self.out, self.config.average_best, self.config.early_stop, self.start_step)
            batches = self._batches()
            self.engine.train()  # here and after evaluations only: it visits every module
            self.meter.start()
            if self.config.eval_first and not self.start_step:
                self._evaluate(records, 0, best)
            for step in range(self.start_step, self.schedule.num_steps):
                if interruption.wanted():
                    self._save_checkpoint(step)
                    raise Interrupted(step)
                loss = self._step(step, batches)
                watchdog.beat(step + 1)
                if self._after_step(step + 1, loss, records, best):
                    break
            return best.mean() if rank == 0 else None

    def _batches(self) -> Iterator[PackedBatch]:
        """This rank's batches from `start_step` on; the dev packs are read again for each evaluation."""
        workers, first = self.config.num_workers, self.start_step * self.config.accumulation
        if self.data.dev_languages:
            self.dev_batches = prefetched(self.data.dev, 0, workers, ignore_in_worker)
        return iter(prefetched(self.data.train, first, workers, ignore_in_worker))

    def _step(self, step: int, batches: Iterator[PackedBatch]) -> float:
        """Forward, backward and update on global batch `step`. Returns the loss per label of this rank."""
        self._prepare_update(step)
        chunk_frames = self.schedule.chunk_frames(step)
        scale = distributed.get_world_size() * self.config.accumulation / self.data.plan.num_tokens(step)
        loss_sum, num_labels = torch.zeros((), dtype=torch.float64, device=self.engine.device), 0.0
        with self.guard.watching(step) as seen:
            for _ in range(self.config.accumulation):
                batch = next(batches)
                seen.append(batch)
                batch = batch.to(self.engine.device)
                loss, _, labels = self.engine(batch, chunk_frames)
                self.engine.backward(loss * scale)
                self.engine.step()
                loss_sum += loss.detach()
                num_labels += labels.item()  # a tensor on the CPU, unlike the loss
                self.meter.add_batch(batch, chunk_frames)
            loss_sum = loss_sum.item()  # the host waits for the device only here and in the optimiser
        if self.guard.was_applied(step, seen, loss_sum / num_labels):
            if self.model.adapters is not None:
                self.model.adapters.after_step()
            self.meter.add_loss(loss_sum, num_labels)
        return loss_sum / num_labels

    def _prepare_update(self, step: int) -> None:
        """Set the learning rates, and the languages whose banks this step updates."""
        lr = self.schedule.learning_rate(step)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["lr_factor"]
        if self.model.adapters is not None:
            self.optimiser.set_present(self.model.adapters.bank(code) for code in self.data.plan.languages(step))

    def _after_step(self, done: int, loss: float, records: Records, best: BestWeights) -> bool:
        """Log, evaluate and save as scheduled. Returns whether training ends here."""
        records.step(done, {"loss": loss, **self._progress()})
        ends, evaluated = self.schedule.is_last(done), self.schedule.evaluates_after(done)
        if evaluated:
            self._evaluate(records, done, best)
            if best.wants_to_stop():
                records.say(f"step {done}: stopping early: no better dev loss in {self.config.early_stop} evaluations")
                ends = True
        if ends or self.schedule.logs_after(done):
            self._log(records, done)
        if evaluated:
            records.draw()
        if not ends and self.schedule.saves_after(done):
            self._save_checkpoint(done)
        return ends

    def _progress(self) -> dict[str, float]:
        """Values for the progress bar, estimated from this rank."""
        throughput = self.meter.of_this_rank().throughput()
        audio_s_per_s = throughput["audio_s_per_s"] * distributed.get_world_size()
        return {"audio_s/s": audio_s_per_s, "fill": throughput["fill"], "GB": peak_memory_gb()}

    def _log(self, records: Records, done: int) -> None:
        """Write a line of train.jsonl and begin the next window."""
        window = self.meter.of_all_ranks(self.engine.device)
        loss, throughput = window.loss_per_label, window.throughput()
        norm = float(self.engine.get_global_grad_norm() or 0.0)
        values = {
            "loss": None if loss is None else round(loss, 5),
            "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": round(norm, 5) if math.isfinite(norm) else None,
            "seconds": round(window.seconds, 3),
            "audio_s_per_s": round(throughput["audio_s_per_s"], 2),
            "tokens_per_s": round(throughput["tokens_per_s"], 1),
            "fill": round(throughput["fill"], 4),
            "peak_gb": round(peak_memory_gb(), 3),  # of rank 0
        }
        if (mfu := self.meter.mfu(window)) is not None:
            values["mfu"] = round(mfu, 4)
        records.write("train", done, values)
        self.meter.reset()

    def _evaluate(self, records: Records, done: int, best: BestWeights) -> None:
        """Write the dev loss and the router's mean weights; the meter's clock is stopped."""
        with self.meter.paused():
            if self.data.dev_languages:
                chunk_frames = self.schedule.dev_chunk_frames
                losses = dev_losses(self.engine, self.dev_batches, self.data.dev_languages, chunk_frames)
                records.write("dev", done, losses)
                records.say(f"step {done}: dev loss {losses['loss']:.4f}")
                best.add(done, losses["loss"], self.model, distributed.get_rank() == 0)
            adapters = self.model.adapters
            if adapters is not None and adapters.router is not None:
                means = adapters.specific_shares().mean(-1).T.tolist()  # (languages, layers)
                p = {code: [round(x, 5) for x in row] for code, row in zip(adapters.language_codes, means, strict=True)}
                records.write("router", done, {"p": p})

    def _save_checkpoint(self, done: int) -> None:
        self.checkpoints.save(done, self.meter.of_all_ranks(self.engine.device))
