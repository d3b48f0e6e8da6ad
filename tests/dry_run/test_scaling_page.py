"""docs/scaling.md says what the dry run says."""

from __future__ import annotations

import re

import pytest

from zipperasr.dry_run.__main__ import main


@pytest.fixture
def page(root):
    return (root / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("regime", "name"), [("chunked", "chunked"), ("full", "full context")])
def test_operations_are_those_of_the_dry_run(page, recipe, monkeypatch, capsys, regime, name):
    monkeypatch.chdir(recipe)
    assert main(["--regime", regime]) == 0
    out = capsys.readouterr().out
    align, sft = re.search(r"GFLOP a second of speech: total +([\d.]+) +([\d.]+)", out).groups()
    assert f"| {name} | {align} | {sft} |" in page


def test_memory_hours_and_speeds_are_those_of_the_dry_run(page, recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    main([])
    out = capsys.readouterr().out
    for row in ("weights", "activations kept", "logits, or one layer", "total"):
        align, sft = re.search(rf"^{row} +([\d.]+) +([\d.]+)$", out, re.MULTILINE).groups()
        assert f"| {row} | {align} | {sft} |" in page
    align, sft = re.search(r"seconds of speech per second +([\d,]+) +([\d,]+)", out).groups()
    hours = {"2.4": 12_000 / float(align.replace(",", "")), "3.5": 3 * 7_329 / float(sft.replace(",", ""))}
    assert all(float(shown) == pytest.approx(exact, abs=0.05) for shown, exact in hours.items())
    assert f"| 40 % | 4 | {align} | 2.4 | {sft} | 3.5 |" in page
    small = main(["--gpu_gib", "24"])
    assert small == 0 and capsys.readouterr().out.count("set packs_per_batch=8 accumulation=2") == 2
