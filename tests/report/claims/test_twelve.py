"""The verdicts match the true error rates of a generated matrix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import silhouette_score

from tests.report.claims.example import SEEDS, write_losses, write_model
from tests.report.conftest import options_for
from zipperasr.decode.encoder_means import read_means
from zipperasr.report.claims.systems import Scored
from zipperasr.report.claims.twelve import _kendall, all_claims, related_languages_are_close, zipper_is_smaller
from zipperasr.report.cluster_statistics import silhouettes, target_means
from zipperasr.report.collect import Run, find_decodings, read_run
from zipperasr.run_record import TrainingRun
from zipperasr.stages.report import main

# true error rates: of all languages, and of low-resource ones with 1 h; with 30 h half way to 0.30
RATES = {
    "vanilla": (0.40, 0.60),
    "independent": (0.305, 0.55),
    "flylora": (0.38, 0.58),
    "zipper_static": (0.31, 0.45),
    "zipper_hard": (0.30, 0.45),
    "zipper_soft": (0.30, 0.42),
    "zipper_soft initial_b": (0.25, 0.36),
}
NO_COSINES = ([], np.zeros((0, 0)))


def write_matrix(exp: Path, regimes=("chunked", "full"), seeds=SEEDS) -> None:
    for regime in regimes:
        better = 0.02 if regime == "full" else 0.0
        write_model(exp, TrainingRun("align", None, regime, "1h", 1), 0.1)
        for seed in seeds:
            for system, (rate, low) in RATES.items():
                variant, _, tag = system.partition(" ")
                separation = 1.5 if "soft" in system else 0.7
                run = TrainingRun("sft", variant, regime, "1h", seed, tag)
                directory = write_model(exp, run, rate - better, low - better, separation)
                speed = {"vanilla": 1.0, "zipper_soft": 1.5, "zipper_soft initial_b": 4.0}.get(system, 1.0)
                write_losses(directory, {step: np.exp(-speed * step / 100) for step in range(50, 401, 50)})
                later = 0.3 + (low - 0.3) / 2 - better
                write_model(exp, replace(run, setting="30h"), rate - better, later, separation)


@pytest.fixture(scope="module")
def matrix(pristine_run, tmp_path_factory) -> Path:
    exp = tmp_path_factory.mktemp("matrix") / "exp"
    write_matrix(exp)
    return exp


@pytest.fixture(scope="module")
def run(matrix, pristine_run, languages) -> Run:
    run = read_run(matrix, pristine_run / "conf" / "datasets.tsv", languages)
    assert {score.unit for decoding in run.decodings for score in decoding.scores} == {"wer"}
    return run


@pytest.fixture(scope="module")
def scored(run) -> Scored:
    return Scored(run)


@pytest.fixture(scope="module")
def claims(scored):
    return {claim.number: claim for claim in all_claims(scored, *NO_COSINES, {})}


def test_claims_that_hold_for_the_true_rates_are_confirmed(claims):
    found = {number: claim.verdict for number, claim in claims.items()}
    assert [number for number, verdict in found.items() if verdict == "confirmed"] == [1, 2, 3, 4, 5, 6, 8, 11]


def test_a_difference_is_measured_in_points(claims):
    rows = {row.what: row.estimate for row in claims[1].comparisons}
    found = rows["zipper_soft against vanilla, chunked"]
    assert found.value == pytest.approx(18.0, abs=1.5) and found.low < 18.0 < found.high and found.seeds == 3


def test_initial_b_saves_the_steps_between_two_exponentials(claims):
    """exp(-4 s / 100) is vanilla's last loss, exp(-4), after 100 steps; exp(-1.5 s / 100) after 267."""
    assert claims[5].comparisons[0].estimate.value == pytest.approx(100 * (1 - 100 / 267), abs=2)


def test_all_systems_forget_but_zipper_hard_is_not_the_least_forgetful(claims):
    """In the example, error rates of source languages equal those of high-resource ones."""
    rows = {row.what: row.verdict for row in claims[9].comparisons}
    assert rows["Alignment against vanilla, chunked"] == "confirmed"
    assert rows["zipper_hard against zipper_soft initial_b, chunked"] == "contrary"
    assert claims[9].verdict == "contrary"


def test_orders_are_compared_by_kendalls_tau():
    one, other = np.random.default_rng(0).normal(size=(2, 8, 5))
    taus = [stats.kendalltau(a, b).statistic for a, b in zip(one.T, other.T, strict=True)]
    np.testing.assert_allclose(_kendall(tuple(one), tuple(other)), taus)


def test_without_a_system_its_claims_are_not_tested(run):
    without = replace(run, decodings=[d for d in run.decodings if d.model.label != "flylora"], trainings=[])
    found = {claim.number: claim for claim in all_claims(Scored(without), *NO_COSINES, {})}
    assert found[1].verdict == "confirmed" and found[2].verdict == "not tested" and found[5].verdict == "not tested"


def test_one_adapted_system_and_its_alignment_cannot_be_compared(run):
    def kept(*labels: str) -> Scored:
        return Scored(replace(run, decodings=[d for d in run.decodings if d.model.label in labels]))

    assert not kept("Alignment").can_compare()
    assert not kept("Alignment", "zipper_soft").can_compare()
    assert kept("vanilla", "zipper_soft").can_compare()


def test_related_languages_are_compared_with_chance():
    codes = ["ja", "ko", "th", "vi", "de", "en", "es", "fr", "it", "pt"]
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 0.05, (10, 10))
    cosines = (noise + noise.T) / 2 + np.eye(10)
    assert related_languages_are_close(codes, cosines).verdict != "confirmed"
    for one, other in ((0, 1), (2, 3)):
        cosines[one, other] = cosines[other, one] = 0.4
    claim = related_languages_are_close(codes, cosines)
    assert claim.verdict == "confirmed" and claim.comparisons[0].estimate.value == pytest.approx(0.4, abs=0.05)


def test_fewer_parameters_are_counted_exactly():
    claim = zipper_is_smaller({"independent": 200, "zipper_static": 80, "zipper_hard": 110, "zipper_soft": 110})
    assert claim.verdict == "confirmed" and claim.comparisons[0].estimate.value == pytest.approx(60.0)
    assert zipper_is_smaller({"independent": 100, "zipper_static": 80}).verdict == "not tested"


def test_silhouettes_equal_scikit_learns(matrix, languages):
    decoding = next(d for d in find_decodings(matrix) if d.model.label == "zipper_soft")
    means = target_means(decoding, languages)
    labels = [code for code, part in means.items() for _ in part]
    wanted = silhouette_score(np.concatenate(list(means.values())), labels, metric="cosine")
    found = silhouettes(decoding, languages)
    assert found[0] == pytest.approx(wanted, abs=1e-6) and found[1:].std() > 0


def test_one_utterance_in_each_language_has_no_silhouette(matrix, languages, monkeypatch):
    def first_only(path: Path) -> dict:
        return dict([*read_means(path).items()][:1])

    monkeypatch.setattr("zipperasr.report.cluster_statistics.read_means", first_only)
    decoding = next(d for d in find_decodings(matrix) if d.model.label == "zipper_soft")
    assert target_means(decoding, languages) == {} and silhouettes(decoding, languages) is None


def test_the_page_has_all_claims_and_results_link_to_it(run_dir, languages):
    write_matrix(run_dir / "exp2", ["full"], [1, 2])
    (run_dir / "exp2" / "lid").mkdir()
    for name in ("token", "state"):
        source = run_dir / "exp" / "lid" / f"cosine_{name}.tsv"
        (run_dir / "exp2" / "lid" / source.name).write_bytes(source.read_bytes())
    argv = options_for(run_dir, languages)
    argv[argv.index("--exp") + 1] = str(run_dir / "exp2")
    assert main([*argv, "--html", "false"]) == 0  # the matrix has error counts but no texts
    page = (run_dir / "CLAIMS.md").read_text(encoding="utf-8")
    headings = [line.split(".")[0] for line in page.splitlines() if line.startswith("## ")]
    assert headings == [*(f"## {number}" for number in range(1, 13)), "## Controls"]
    assert "| zipper_soft initial_b against zipper_soft, full, all target languages | +" in page
    assert "twice against" not in page, "that system was not trained here"
    assert "| zipper_soft against vanilla, full | +1" in page
    results = (run_dir / "RESULTS.md").read_text(encoding="utf-8")
    assert "[CLAIMS.md](CLAIMS.md)" in results and "by t-SNE, full encoder" in results
    scores = (run_dir / "RESULTS.tsv").read_text(encoding="utf-8").splitlines()
    assert len(scores) == 1 + sum(len(d.scores) for d in find_decodings(run_dir / "exp2"))
