"""Sums between two lines of train.jsonl, and the throughput that follows from them."""

from __future__ import annotations

import time
from dataclasses import asdict, astuple, replace

import pytest
import torch
from torch import distributed

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.train.throughput import ThroughputMeter, Window, peak_memory_gb, peak_tflops

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
        meter.add_batch(batch, None)
        meter.add_loss(loss, 4.0)
    window = meter.of_all_ranks(CPU)
    assert window.loss_per_label == 1.0
    assert (window.samples, window.filled, window.positions) == (48_000, 2 * batch.num_positions, 400)
    meter.reset()
    assert astuple(replace(meter.of_all_ranks(CPU), seconds=0.0)) == (0.0,) * 7


def test_throughput_is_per_second():
    window = Window(loss=1.0, labels=1.0, samples=32_000.0, filled=300.0, positions=400.0, seconds=4.0)
    assert window.throughput() == {"audio_s_per_s": 0.5, "tokens_per_s": 75.0, "fill": 0.75}


def test_a_window_of_skipped_steps_has_no_loss(batch):
    meter = ThroughputMeter(max_positions=100)
    meter.start()
    meter.add_batch(batch, None)
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


def test_a_window_of_a_checkpoint_without_flops_is_read():
    saved = asdict(Window(loss=1.0, labels=2.0))
    del saved["flops"]
    assert Window.restore(saved) == Window(loss=1.0, labels=2.0)


def test_mfu_is_the_share_of_the_devices_peak(batch):
    meter = ThroughputMeter(100, flops_of_batch=lambda batch, chunk_frames: 1e12 * chunk_frames, peak_tflops=8.0)
    meter.start()
    for _ in range(2):
        meter.add_batch(batch, 40)
    assert meter.mfu(replace(meter.of_all_ranks(CPU), seconds=20.0)) == pytest.approx(80 / 20 / 8)


def test_without_a_known_peak_there_is_no_mfu(batch):
    assert ThroughputMeter(100).mfu(Window(seconds=1.0)) is None


@pytest.mark.parametrize(
    ("device", "precision", "tflops"),
    [
        ("NVIDIA A800-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.0),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA H200", "bf16", 989.0),
        ("NVIDIA H200", "fp32", None),
        ("NVIDIA GeForce RTX 4090", "bf16", None),
    ],
)
def test_the_peak_is_found_by_the_devices_name(monkeypatch, device, precision, tflops):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    assert peak_tflops(precision) == tflops


def test_memory_is_measured():
    assert 0.05 < peak_memory_gb() < 100
