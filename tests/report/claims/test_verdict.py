from __future__ import annotations

import pytest

from zipperasr.report.claims.resampling import Estimate
from zipperasr.report.claims.verdict import Claim, Comparison


def comparison(low, high, **bounds) -> Comparison:
    return Comparison("a against b", Estimate((low + high) / 2, low, high, 3), **bounds)


@pytest.mark.parametrize(
    ("low", "high", "bounds", "verdict"),
    [
        (0.1, 2.0, {}, "confirmed"),
        (-0.1, 2.0, {}, "not confirmed"),
        (-2.0, -0.1, {}, "contrary"),
        (-2.0, -0.1, {"floor": -3.0}, "confirmed"),  # worse, but by less than the margin
        (-0.4, 0.4, {"floor": -0.5, "ceiling": 0.5}, "confirmed"),  # equivalent
        (-0.4, 0.6, {"floor": -0.5, "ceiling": 0.5}, "not confirmed"),
        (0.6, 0.9, {"floor": -0.5, "ceiling": 0.5}, "contrary"),
    ],
)
def test_the_verdict_of_a_comparison_depends_on_its_full_interval(low, high, bounds, verdict):
    assert comparison(low, high, **bounds).verdict == verdict


def test_a_claim_is_confirmed_only_if_all_its_comparisons_are():
    yes, no, open_, absent = comparison(1, 2), comparison(-2, -1), comparison(-1, 1), Comparison("c", None)
    verdict = {name: Claim(1, "", "", rows).verdict for name, rows in {
        "all": [yes, yes], "one open": [yes, open_], "one contrary": [yes, no, absent], "one absent": [yes, absent],
        "nothing": [],
    }.items()}  # fmt: skip
    assert verdict == {
        "all": "confirmed",
        "one open": "not confirmed",
        "one contrary": "contrary",
        "one absent": "not tested",
        "nothing": "not tested",
    }
    assert Claim(1, "", "", [yes, no, absent]).tally == "1 of 3 confirmed, 1 contrary, 1 not tested"
