"""Handle failing steps: non-finite losses or gradients, and running out of memory.

In: the engine after each step, and the batches of the step. Out: skipped.jsonl with the utterances of every skipped
step, an error after too many skipped steps in a row, and out-of-memory errors that give the batch shape and a remedy.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import distributed

from zipperasr.batching.batch import PackedBatch
from zipperasr.cli import log

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class StepGuard:
    """Reports and counts skipped steps. The optimiser skips a step on all ranks if any rank's gradient is not finite.

    Args:
        max_skipped: skipped steps in a row that end the training.
    """

    def __init__(self, engine, out: Path, max_skipped: int):
        self._engine, self._path, self._max_skipped = engine, out / "skipped.jsonl", max_skipped
        self._in_a_row = 0

    @contextlib.contextmanager
    def watching(self, step: int) -> Iterator[list[PackedBatch]]:
        """Context of one step, whose batches are appended to the list.

        Raises ValueError with the shape of the last batch if memory runs out.
        """
        seen: list[PackedBatch] = []
        try:
            yield seen
        except RuntimeError as error:
            if not any(words in str(error) for words in OUT_OF_MEMORY):
                raise
            raise ValueError(f"step {step + 1}: {_memory_advice(seen, error)}") from error

    def was_applied(self, step: int, seen: Sequence[PackedBatch], loss: float) -> bool:
        """Whether the step updated the weights. Raises ValueError after `max_skipped` steps in a row that did not."""
        if self._engine.was_step_applied():
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        of_ranks = self._gather({"loss": str(loss), "utt_ids": [utt for batch in seen for utt in batch.utt_ids]})
        if distributed.get_rank() == 0:
            ids = [utt for rank in of_ranks for utt in rank["utt_ids"]]
            with self._path.open("a", encoding="utf-8") as lines:
                record = {"step": step + 1, "loss": [rank["loss"] for rank in of_ranks], "utt_ids": ids}
                lines.write(json.dumps(record) + "\n")
            log(f"step {step + 1}: skipped, non-finite loss or gradient; {self._path} lists its {len(ids)} utterances")
        if self._in_a_row >= self._max_skipped:
            raise ValueError(
                f"{self._path}: the last {self._in_a_row} steps (up to step {step + 1}) were skipped because loss or "
                f"gradient was not finite (max_skipped: {self._max_skipped}); check their utterances, or lower lr"
            )
        return False

    def _gather(self, mine: dict) -> list[dict]:
        if distributed.get_world_size() == 1:
            return [mine]
        of_ranks: list = [None] * distributed.get_world_size()
        distributed.all_gather_object(of_ranks, mine)
        return of_ranks


def _memory_advice(seen: Sequence[PackedBatch], error: RuntimeError) -> str:
    reason = str(error).strip().splitlines()[0][:200]
    if not seen:
        return f"{reason}; reduce packs_per_batch"
    batch = seen[-1]
    seconds = batch.num_samples / 16_000
    return (
        f"out of memory with {batch.num_packs} packs, {batch.num_positions} LLM positions, {seconds:.0f} s of speech "
        f"({reason}); reduce packs_per_batch (and raise accumulation, to keep the global batch), or set "
        f"checkpointing: true in model.yaml"
    )
