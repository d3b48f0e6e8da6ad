"""Confidence intervals have the right width where it is known, and contain the true value in 95 of 100 cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from zipperasr.report.claims.resampling import estimate, replicated_rates
from zipperasr.stats.bootstrap import RESAMPLINGS, times_drawn


def write_audit(path, operations):
    path.parent.mkdir(parents=True)
    lines = [
        json.dumps(
            {"id": f"u{n:03d}", "speaker": "s", "reference": ["a"] * sum(map(ops.count, "CSD")), "operations": ops}
        )
        for n, ops in enumerate(operations)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_first_value_is_the_error_rate_and_the_spread_is_binomial(tmp_path):
    """200 utterances of one word, a quarter of them wrong; an inserted word is an error but not a reference unit."""
    audit = write_audit(tmp_path / "test_x" / "score_wer" / "audit.jsonl", ["S"] * 49 + ["CI"] + ["C"] * 150)
    rates = replicated_rates(audit)
    assert rates.shape == (1 + RESAMPLINGS,)
    assert rates[0] == pytest.approx(25.0)
    assert rates[1:].std() == pytest.approx(100 * np.sqrt(0.25 * 0.75 / 200), rel=0.1)


def test_a_test_set_is_resampled_identically_for_every_system(tmp_path):
    """Two systems that differ by one error per utterance have the same difference in every resampling."""
    one, other = (
        replicated_rates(write_audit(tmp_path / name / "test_x" / "score_wer" / "audit.jsonl", operations))
        for name, operations in (("a", ["CCCC", "SCCC"] * 20), ("b", ["SCCC", "SSCC"] * 20))
    )
    np.testing.assert_allclose(other - one, 25.0)


def test_an_error_in_an_audit_names_the_line(tmp_path):
    audit = write_audit(tmp_path / "test_x" / "score_wer" / "audit.jsonl", ["C"])
    with audit.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "u2"}\n')
    with pytest.raises(ValueError, match=r"audit\.jsonl:2: .*rerun stage 8"):
        replicated_rates(audit)


def test_with_only_seed_variance_the_interval_is_student_s():
    values = [1.0, 2.5, 1.7]
    found = estimate([np.array([value]) for value in values])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx(np.mean(values)) and found.seeds == 3


def test_with_only_utterance_variance_the_interval_is_normal():
    drawn = np.random.default_rng(0).normal(3.0, 2.0, 50_000)
    found = estimate([np.concatenate([[3.0], drawn])])
    assert (found.low, found.high) == pytest.approx((3 - 1.96 * 2, 3 + 1.96 * 2), abs=0.05)


@pytest.mark.parametrize(("seed_sd", "utterance_sd"), [(1.0, 0.1), (1.0, 1.0), (0.2, 1.0)])
def test_about_95_of_100_intervals_contain_the_true_value(seed_sd, utterance_sd):
    """An experiment has three seeds, each with an offset, on the same 100 utterances, resampled as in stage 9."""
    generator, inside, experiments = np.random.default_rng(1), 0, 600
    drawn = np.concatenate(list(times_drawn("test_coverage", 100)))[:200]
    weights = np.concatenate([np.ones((1, 100)), drawn]) / 100
    for _ in range(experiments):
        utterances = generator.normal(0, 10 * utterance_sd, 100)  # the mean has standard deviation utterance_sd
        by_seed = [weights @ utterances + offset for offset in generator.normal(0, seed_sd, 3)]
        found = estimate(by_seed)
        inside += found.low <= 0.0 <= found.high
    assert 0.92 <= inside / experiments <= 0.985
