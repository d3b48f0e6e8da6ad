"""The number of rounds that a benchmark measures within its time limit."""

from __future__ import annotations

import time

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


def test_rounds_stop_before_one_that_would_exceed_the_limit(budget_module):
    made = 0
    start = time.monotonic()
    for _ in budget_module.Budget(1.0).rounds(0, 1000, parts_left=2):  # half of the second
        time.sleep(0.1)
        made += 1
    assert 2 <= made <= 5
    assert time.monotonic() - start < 0.7


def test_skipped_rounds_are_reported(budget_module):
    assert budget_module.rounds_note(5, 5) == "median of 5 rounds"
    assert budget_module.rounds_note(1, 30) == "median of 1 round (29 of 30 skipped for lack of time)"
