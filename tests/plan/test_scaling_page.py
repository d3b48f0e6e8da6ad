"""The figures in docs/scaling.md equal those of the dry run."""

from __future__ import annotations

import re

import pytest

from zipperasr.plan.__main__ import main
from zipperasr.plan.operations import GPUS

HEARD = (12_000, 3 * 7_329)  # hours of speech, epochs counted


@pytest.fixture
def page(root):
    return (root / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("regime", "name"), [("chunked", "chunked"), ("full", "full context")])
def test_operations_equal_those_of_the_dry_run(page, recipe, monkeypatch, capsys, regime, name):
    monkeypatch.chdir(recipe)
    assert main(["--regime", regime]) == 0
    out = capsys.readouterr().out
    align, sft = re.search(r"GFLOP per second of speech: total +([\d.]+) +([\d.]+)", out).groups()
    assert f"| {name} | {align} | {sft} |" in page


def test_hours_follow_from_peak_performance_utilisation_and_number_of_gpus(page, recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    main([])
    out = capsys.readouterr().out
    speeds = [float(n.replace(",", "")) for n in re.search(r"speech per second +(\S+) +(\S+)", out).groups()]
    peaks = {gpu.name: gpu.tflops for gpu in GPUS.values()}
    rows = re.findall(r"^\| (A800|H100 SXM) \| (\d+) % \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for card, share, count, rest in rows:
        factor = peaks[card] / peaks["A800"] * int(share) / 40 * int(count) / 4
        shown = [float(cell.replace(",", "")) for cell in rest.split(" | ")]
        wanted = [(speed * factor, heard / (speed * factor)) for speed, heard in zip(speeds, HEARD, strict=True)]
        for (speed, hours), (exact_speed, exact_hours) in zip((shown[:2], shown[2:]), wanted, strict=True):
            assert speed == pytest.approx(exact_speed, rel=1e-3)
            assert hours == pytest.approx(exact_hours, abs=0.06)


def test_memory_hours_and_speeds_equal_those_of_the_dry_run(page, recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    main([])
    out = capsys.readouterr().out
    gpu, host = re.search(r"(Memory of one GPU.+?)(Host memory.+?)\n\n", out, re.DOTALL).groups()
    for row in ("weights", "activations kept", "logits, or one layer", "total"):
        assert shown(row, gpu) in page
    for row in re.findall(r"^(\S.+?)  +[\d.]+ +[\d.]+$", host, re.MULTILINE):
        assert row == "optimiser states" or shown(row, host) in page, row
    align, sft = re.search(r"seconds of speech per second +([\d,]+) +([\d,]+)", out).groups()
    align_hours, sft_hours = re.search(r"hours on 4 A800 GPUs +([\d.]+) +([\d.]+)", out).groups()
    assert f"| A800 | 40 % | 4 | {align} | {align_hours} | {sft} | {sft_hours} |" in page
    words = " ".join(page.split())
    one, two = re.search(r"all operations: recomputed +(\d+) % +(\d+) %", out).groups()
    assert f"{one} % of all operations in the alignment, {two} % in the adaptation" in words
    one, two = re.search(r"utilisation is (\d+) % and (\d+) %", out).groups()
    assert f"At 40 % the GPU in fact runs at {one} % and {two} % of its peak" in words
    small = main(["--gpu_gib", "24"])
    assert small == 0 and capsys.readouterr().out.count("set packs_per_batch=8 accumulation=2") == 2


def shown(row: str, table: str) -> str:
    align, sft = re.search(rf"^{re.escape(row)} +([\d.]+) +([\d.]+)$", table, re.MULTILINE).groups()
    return f"| {row} | {align} | {sft} |"
