"""A short run of the long fuzz test finds no fault; tracebacks, long errors and hangs are recognised as faults."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.long import Plan, fuzz, try_mutant
from tests.fuzz.mutate import mutate_binary, mutate_text, mutate_tree
from tests.fuzz.targets import Target


def test_a_short_run_over_all_targets_has_no_fault(tmp_path):
    report = fuzz(Plan(minutes=10, workers=1, slice_s=0.03, rounds=2), tmp_path / "faults")
    assert not report.faults, [path.read_text()[:1500] for path in sorted((tmp_path / "faults").iterdir())[:3]]
    assert len(report.mutants) > 60 and all(report.mutants.values())
    assert sum(report.refused.values()) > sum(report.mutants.values()) / 10


def raises(error: Exception):
    def read() -> None:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (raises(KeyError("x")), "KeyError: 'x'"),
        (raises(RecursionError("deep")), "RecursionError: deep"),
        (lambda: time.sleep(2.01), "took 2."),
        (raises(ValueError("x" * 1000)), ""),  # commands shorten it
        (lambda: None, ""),
    ],
)
def test_what_counts_as_a_fault(tmp_path, monkeypatch, read, fault):
    monkeypatch.setattr("tests.fuzz.long.HANG_S", 2.0)
    path = tmp_path / "file"
    path.write_bytes(b"good")
    outcome = try_mutant(Target("one", (path,), read), seed=1, number=7)
    assert outcome.fault.startswith(fault) and bool(outcome.fault) == bool(fault)
    assert path.read_bytes() == b"good"


@pytest.mark.parametrize("mutate", [mutate_text, mutate_tree, mutate_binary])
def test_mutants_differ_and_are_reproducible(tmp_path: Path, mutate):
    good = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    mutants = [mutate(good, Random(number)) for number in range(200)]
    assert mutants == [mutate(good, Random(number)) for number in range(200)]
    assert len(set(mutants)) > 120
