from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipperasr.stats.comparison import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_values_equal_a_hand_calculation():
    """0.005 * 4; 0.01 * 3; 0.03 * 2; 0.04 * 1 is less than the previous value and is raised to it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_values_are_at_most_1_and_a_single_test_needs_no_correction():
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]


@settings(deadline=None)
@given(P_VALUES)
def test_order_is_kept_and_values_never_exceed_bonferroni(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= min(1.0, len(p_values) * p) for p, a in zip(p_values, adjusted, strict=True))
    in_order = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)


@settings(deadline=None)
@given(P_VALUES, st.floats(0.001, 0.2))
def test_rejections_equal_those_of_the_step_down_rule(p_values, level):
    """Holm's rule: starting from the smallest p, reject while p <= level / (number of remaining tests)."""
    rejected = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] * (len(p_values) - step) > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(p_values)) if p <= level} == rejected
