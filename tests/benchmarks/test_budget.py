"""The number of rounds that a benchmark measures within its time limit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def budget_module(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    import budget

    return budget


def test_without_a_limit_every_round_is_measured(budget_module):
    assert list(budget_module.Budget(0).rounds(2, 3)) == [False, False, True, True, True]


def test_a_spent_budget_leaves_one_measured_round(budget_module):
    budget = budget_module.Budget(1e-9)
    assert list(budget.rounds(1, 30)) == [False, True]
    assert budget.is_spent()


def test_rounds_stop_before_one_that_would_exceed_the_limit(budget_module, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    durations = []
    for _ in budget_module.Budget(2.0).rounds(0, 1000, parts_left=2):  # one second of it
        durations.append(0.25 if len(durations) < 2 else 0.375)
        clock.now += durations[-1]
    assert durations == [0.25, 0.25, 0.375]


def test_skipped_rounds_are_reported(budget_module):
    assert budget_module.rounds_note(5, 5) == "median of 5 rounds"
    assert budget_module.rounds_note(1, 30) == "median of 1 round (29 of 30 skipped for lack of time)"
