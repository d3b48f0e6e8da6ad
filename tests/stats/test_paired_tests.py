"""Verdicts equal those of sc_stats; p-values equal those of an independent computation."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.stats.example import SCTK, audits, draw_systems, one_audit, read_report, run_sc_stats
from zipperasr.stats.paired_tests import FIRST, SAME, SECOND, TESTS, mapsswe, mcnemar, sign, wilcoxon

needs_sc_stats = pytest.mark.skipif(
    not (SCTK / "sc_stats").is_file(), reason="no sc_stats to compare with: apt-get install sctk"
)
# Output of sc_stats of SCTK 2.4.10 for draw_systems(*arguments)
FIXTURES = {
    "sc_stats_1_speaker.txt": (1, 6, 1, 30),
    "sc_stats_6_speakers.txt": (2, 6, 6, 8),
    "sc_stats_20_speakers.txt": (3, 6, 20, 3),
}
# (seed, systems, speakers, utterances per speaker): up to 14 systems (91 pairs) per call
DRAWN = [(11, 14, 1, 20), (12, 14, 2, 5), (13, 14, 6, 10), (14, 14, 20, 3), (15, 14, 3, 40), (16, 14, 50, 1)]


def verdicts(directory: Path, systems) -> dict[tuple[str, str, str], tuple[str, float]]:
    """Our results in the format of `read_report`."""
    found = audits(directory, systems)
    answer = {}
    for one, other in itertools.combinations(systems, 2):
        for name, test in TESTS.items():
            result = test(found[one], found[other])
            better = {FIRST: one, SAME: "same", SECOND: other}[result.sc_stats_verdict]
            answer[name, one, other] = (better, pytest.approx(max(result.sc_stats_p, 0.001), abs=0.00051))
    return answer


@pytest.mark.parametrize("name", FIXTURES)
def test_verdicts_and_probabilities_equal_those_of_a_stored_report(name, tmp_path):
    kept = read_report((Path(__file__).parent / name).read_text(encoding="utf-8"))
    assert len(kept) == 4 * 15
    assert kept == verdicts(tmp_path, draw_systems(*FIXTURES[name]))


@needs_sc_stats
@pytest.mark.parametrize("drawn", DRAWN)
def test_verdicts_and_probabilities_equal_those_of_the_real_sc_stats(drawn, tmp_path):
    systems = draw_systems(*drawn)
    real = read_report(run_sc_stats(tmp_path / "nist", systems))
    assert len(real) == 4 * 91
    assert {verdict == "same" for verdict, _ in real.values()} == {True, False}
    assert real == verdicts(tmp_path, systems)


def test_matched_pairs_p_is_normal_for_the_mean_difference(tmp_path):
    one = one_audit(tmp_path / "a", ["SSCC", "SCC", "CCC", "SCCS"])
    other = one_audit(tmp_path / "b", ["CCCC", "CCC", "SCC", "CCCS"])
    found = mapsswe(one, other)  # segments: 2-0, 1-0, 0-1, 1-0, 1-1 (the last utterance has two)
    difference = [2, 1, -1, 1, 0]
    z = np.mean(difference) / (np.std(difference, ddof=1) / np.sqrt(5))
    assert (found.num, found.statistic) == (5, pytest.approx(z))
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-z))


def test_differences_without_variance_have_z_0(tmp_path):
    one, other = one_audit(tmp_path / "a", ["SCC"] * 9), one_audit(tmp_path / "b", ["CCC"] * 9)
    assert (mapsswe(one, other).statistic, mapsswe(one, other).p_value, mapsswe(one, other).num) == (0, 1, 9)


def test_mcnemar_is_exact_although_sc_stats_halves_the_count(tmp_path):
    """15 sentences against 13: not significant in an exact test, p = 0.005 in sc_stats' approximation."""
    one = one_audit(tmp_path / "a", ["S"] * 15 + ["C"] * 13 + ["S"] * 4)
    other = one_audit(tmp_path / "b", ["C"] * 15 + ["S"] * 13 + ["S"] * 4)
    found = mcnemar(one, other)
    assert (found.statistic, found.num) == (13, 28)
    assert found.p_value == pytest.approx(stats.binomtest(13, 28).pvalue) and found.p_value > 0.8
    assert found.sc_stats_verdict == SECOND and found.sc_stats_p == pytest.approx(0.005, abs=5e-4)


def test_sign_test_names_the_lower_mean_even_against_most_speakers(tmp_path):
    """For nine speakers the second system is better, but the tenth makes its mean higher."""
    speakers = [f"s{n}" for n in range(10)]
    one = one_audit(tmp_path / "a", ["SCCCCCCCCC"] * 9 + ["C" * 10], speakers)
    other = one_audit(tmp_path / "b", ["C" * 10] * 9 + ["S" * 10], speakers)
    assert (sign(one, other).statistic, sign(one, other).num) == (1, 10)
    assert sign(one, other).sc_stats_verdict == FIRST
    assert sign(one, other).p_value == pytest.approx(stats.binomtest(1, 10).pvalue)


def test_ties_are_split_between_both_signs(tmp_path):
    speakers = list("abcde")
    one, other = (
        one_audit(tmp_path / name, ["SC", ops, "CC", "SC", "SS"], speakers) for name, ops in (("a", "SS"), ("b", "SC"))
    )
    assert (sign(one, other).statistic, sign(one, other).num, sign(one, other).p_value) == (2, 5, 1.0)


def test_wilcoxon_p_is_exact_for_few_speakers_without_ties(tmp_path):
    speakers = [f"s{n}" for n in range(8)]
    one = one_audit(tmp_path / "a", ["S" * (n + 2) + "C" * (18 - n) for n in range(8)], speakers)
    other = one_audit(tmp_path / "b", ["S" + "C" * 19] * 8, speakers)
    found = wilcoxon(one, other)
    assert found.p_value == pytest.approx(2 / 2**8)
    assert found.statistic == pytest.approx((0 - 18) / np.sqrt(8 * 9 * 17 / 24))
    assert found.sc_stats_verdict == SECOND


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_a_system_does_not_differ_from_itself(test, tmp_path):
    for ops in (["SC", "CI", "CC"], ["CC", "C", "C"]):
        audit = one_audit(tmp_path, ops, ["a", "b", "c"])
        assert test(audit, audit).p_value == 1.0
        assert test(audit, audit).sc_stats_verdict == SAME


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_exchanging_the_systems_exchanges_the_verdict(test, tmp_path):
    found = audits(tmp_path, draw_systems(4, 5, 9, 6))
    for one, other in itertools.combinations(found.values(), 2):
        there, back = test(one, other), test(other, one)
        assert there.p_value == pytest.approx(back.p_value)
        assert there.sc_stats_verdict == -back.sc_stats_verdict
