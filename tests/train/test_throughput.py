"""Sums between two lines of train.jsonl, and the throughput that follows from them."""

from __future__ import annotations

import time
from dataclasses import asdict, astuple

import pytest
import torch
from torch import distributed

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.train.throughput import ThroughputMeter, Window, peak_memory_gb

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def batch():
    return collate([[tiny.example("a", "de", 16_000, "ein")], [tiny.example("b", "es", 8_000, "dos")]])


def test_a_window_sums_batches_and_losses(batch):
    meter = ThroughputMeter(max_positions=100)
    meter.start()
    for loss in (6.0, 2.0):
        meter.add_batch(batch)
        meter.add_loss(loss, 4.0)
    window = meter.of_all_ranks(CPU)
    assert window.loss_per_label == 1.0
    assert (window.samples, window.filled, window.positions) == (48_000, 2 * batch.num_positions, 400)
    meter.reset()
    assert astuple(meter.of_all_ranks(CPU))[:-1] == (0.0,) * 5


def test_throughput_is_per_second():
    window = Window(loss=1.0, labels=1.0, samples=32_000.0, filled=300.0, positions=400.0, seconds=4.0)
    assert window.throughput() == {"audio_s_per_s": 0.5, "tokens_per_s": 75.0, "fill": 0.75}


def test_a_window_of_skipped_steps_has_no_loss(batch):
    meter = ThroughputMeter(max_positions=100)
    meter.start()
    meter.add_batch(batch)
    assert meter.of_all_ranks(CPU).loss_per_label is None


def test_evaluations_do_not_count_as_training_time():
    meter = ThroughputMeter(max_positions=100)
    meter.start()
    with meter.paused():
        time.sleep(0.2)
    assert meter.of_this_rank().seconds < 0.1


def test_a_resumed_window_continues_the_saved_one(batch):
    saved = Window(loss=3.0, labels=2.0, samples=16_000.0, filled=50.0, positions=100.0, seconds=30.0)
    meter = ThroughputMeter(max_positions=100, saved=Window.restore(asdict(saved)))
    meter.start()
    meter.add_loss(1.0, 2.0)
    window = meter.of_all_ranks(CPU)
    assert (window.loss_per_label, window.samples) == (1.0, 16_000.0)
    assert 30.0 <= window.seconds < 31.0
    assert saved.loss == 3.0


def test_a_window_of_another_version_is_refused():
    with pytest.raises(ValueError, match="its log window has loss, places, wanted loss, labels, samples, filled"):
        Window.restore({"loss": 1.0, "places": 2.0})


def test_memory_is_measured():
    assert 0.05 < peak_memory_gb() < 100
