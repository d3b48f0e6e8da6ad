"""Host memory compared with hand calculations: what a rank loads, in which precision, and what ranks share."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from zipperasr.plan.host_memory import GIB, PREFETCHED, PROCESS_BYTES, WORKER_BYTES, host_memory, host_rows


def changed(setup, **train):
    return dataclasses.replace(setup, train=dataclasses.replace(setup.train, **train))


def test_trained_weights_are_in_float32_and_frozen_ones_in_the_training_precision(setup):
    memory, size = host_memory(setup), setup.size
    assert memory.rank["trained weights, float32"] == 4 * size.trained
    assert memory.rank["trained weights, cast for the GPU"] == 2 * size.trained
    assert memory.shared == 2 * size.parts["LLM"].total
    assert memory.rank["frozen weights"] + memory.shared == 2 * (size.total - size.trained)
    assert memory.rank["optimiser states"] == 0


def test_float32_training_casts_nothing_and_cannot_map_a_bfloat16_file(setup):
    memory = host_memory(changed(setup, precision="fp32"))
    assert memory.rank["trained weights, cast for the GPU"] == memory.shared == 0
    assert memory.rank["frozen weights"] == 4 * (setup.size.total - setup.size.trained)


def test_the_precision_in_a_backbones_configuration_is_used(setup, monkeypatch):
    monkeypatch.setattr(setup.model.causal_lm.config, "dtype", torch.float16)
    assert host_memory(setup).shared == 0
    assert host_memory(changed(setup, precision="fp16")).shared == 2 * setup.size.parts["LLM"].total


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_each_loader_worker_holds_its_prefetched_batches(setup, num_workers):
    memory = host_memory(changed(setup, num_workers=num_workers))
    seconds = 16 * setup.speech.pack_s(2048)
    batches = (1 + PREFETCHED) * seconds * 100 * 128 * 4  # 100 frames per second with 128 float32 values
    expected = num_workers * (WORKER_BYTES + batches)
    assert memory.rank["loader workers and their batches"] == pytest.approx(expected)


def test_four_ranks_with_the_papers_configuration_need_less_than_32_gb(full_model, setup):
    _, sizes = full_model
    for phase in ("align", "sft"):
        memory = host_memory(dataclasses.replace(setup, phase=phase, size=sizes[phase]))
        assert PROCESS_BYTES < memory.of_machine(1) < memory.of_machine(4) < 32e9


def test_the_table_ends_with_the_total_of_the_machine(setup):
    memory = host_memory(setup)
    header, *parts, one, shared, machine = host_rows({"stage 2": memory}, ranks=4)
    assert header == ("GiB", "stage 2")
    assert float(one[1]) == pytest.approx(sum(float(row[1]) for row in parts), abs=0.05)
    assert float(machine[1]) == pytest.approx(4 * float(one[1]) + float(shared[1]), abs=0.05)
    assert machine[0] == "machine with 4" and memory.of_machine(4) / GIB == pytest.approx(float(machine[1]), abs=0.01)
