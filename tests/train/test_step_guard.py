"""Failing steps are reported with cause and remedy."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.train.step_guard import StepGuard


@pytest.fixture
def batch():
    return collate([[tiny.example("a", "de", 16_000, "ein")], [tiny.example("b", "es", 16_000, "dos")]])


def guard(tmp_path, applied: bool = True, max_skipped: int = 2) -> StepGuard:
    return StepGuard(SimpleNamespace(was_step_applied=lambda: applied), tmp_path, max_skipped)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_names_the_batch_and_what_to_reduce(tmp_path, batch, error):
    with (
        pytest.raises(
            ValueError, match=rf"step 8: out of memory with 2 packs, {batch.num_positions} LLM positions, 2 s"
        ) as raised,
        guard(tmp_path).watching(7) as seen,
    ):
        seen.append(batch)
        raise error
    assert "reduce packs_per_batch" in str(raised.value) and "checkpointing: true in model.yaml" in str(raised.value)


def test_a_real_allocation_failure_is_recognised(tmp_path, batch):
    with pytest.raises(ValueError, match="out of memory"), guard(tmp_path).watching(7) as seen:
        seen.append(batch)
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_are_raised_unchanged(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"), guard(tmp_path).watching(0):
        raise RuntimeError("shapes differ")


def test_skipped_steps_are_counted_in_a_row(tmp_path, batch):
    watch = guard(tmp_path, applied=False)
    assert not watch.was_applied(4, [batch], float("nan"))
    watch._engine.was_step_applied = lambda: True
    assert watch.was_applied(5, [batch], 1.0)
    watch._engine.was_step_applied = lambda: False
    assert not watch.was_applied(6, [batch], float("inf"))
    with pytest.raises(ValueError, match=r"skipped.jsonl: the last 2 steps \(up to step 8\) .*; check their"):
        watch.was_applied(7, [batch], 1.0)
    records = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [5, 7, 8]
    assert records[0] == {"step": 5, "loss": ["nan"], "utt_ids": ["a", "b"]}
