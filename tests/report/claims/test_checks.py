"""Relative changes between systems whose true error rates are known, and what is wanted of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report.claims.example import write_model
from tests.report.example import CODES
from zipperasr.report.claims.checks import Check, checks_table
from zipperasr.report.claims.systems import Scored
from zipperasr.report.collect import read_run
from zipperasr.run_record import TrainingRun


@pytest.fixture
def table(tmp_path, pristine_run, languages):
    """The table for these systems: {label: (high-resource rate, low-resource rate)}."""

    def written(**rates: tuple[float, float]) -> list[str]:
        for label, (high, low) in rates.items():
            lora, _, tag = label.partition("__")
            seeds = (1, 2) if label == "zipper_soft" else (1,)
            for seed in seeds:
                write_model(tmp_path / "exp", TrainingRun("sft", lora, "chunked", "1h", seed, tag), high, low)
        run = read_run(tmp_path / "exp", pristine_run / "conf" / "datasets.tsv", languages)
        return checks_table(Scored(run)).splitlines()[2:]

    return written


def test_the_schedule_check_is_one_line(table):
    (line,) = table(zipper_soft=(0.4, 0.5), zipper_soft__twice=(0.39, 0.4))
    start = "| schedule check: trained twice as long | chunked | `zipper_soft` → `zipper_soft twice` | high-resource |"
    assert line.startswith(start) and line.endswith("| 1 | within ±10 | yes |")


def test_a_training_that_has_not_converged_fails_the_schedule_check(table):
    (line,) = table(zipper_soft=(0.4, 0.5), zipper_soft__twice=(0.3, 0.4))
    assert line.endswith("| within ±10 | **no** |") and "| −2" in line


def test_without_encoder_lora_both_groups_must_be_worse(table):
    high, low = table(vanilla=(0.3, 0.6), none=(0.45, 0.62))
    assert "`vanilla` → `no encoder LoRA` | high-resource |" in high and high.endswith("| at least +20 | yes |")
    assert "| low-resource |" in low and low.endswith("| at least +20 | **no** |")


def test_what_adaptation_gains_is_shown_without_a_verdict(tmp_path, table, monkeypatch):
    monkeypatch.setattr("tests.report.claims.example._sets", lambda run: target_sets())
    write_model(tmp_path / "exp", TrainingRun("align", None, "chunked", "1h", 1), 0.8, 0.9)
    high, low = table(zipper_soft=(0.4, 0.5))
    assert high.startswith("| adaptation | chunked | `Alignment` → `zipper_soft` |") and "| −50" in high
    assert high.endswith("|  |  |") and low.endswith("|  |  |")


def target_sets():
    yield from (("mls", "sft", code) for code in CODES if code != "zh")


def test_without_the_other_system_there_is_no_table(table):
    assert table(vanilla=(0.3, 0.6), zipper_soft=(0.3, 0.6)) == []


def test_wanted_bounds_are_written_out():
    check = Check("x", "a", "b", "high-resource")
    bounds = {(-10.0, 10.0): "within ±10", (20.0, float("inf")): "at least +20", (-float("inf"), -5.0): "at most −5"}
    assert {pair: replace(check, low=pair[0], high=pair[1]).wanted for pair in bounds} == bounds
    assert check.wanted == ""
