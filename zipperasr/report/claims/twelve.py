"""The paper's twelve claims as comparisons.

In: `Scored` systems, LID cosines, parameter counts. Out: `Claim`s in the paper's order. Differences are in percentage
points unless stated otherwise; positive values support the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from zipperasr.audio.segments import REGIMES
from zipperasr.lora import VARIANTS
from zipperasr.report.claims.resampling import Estimate, estimate
from zipperasr.report.claims.systems import TARGET, Cell, Scored
from zipperasr.report.claims.verdict import Claim, Comparison
from zipperasr.report.cluster_statistics import silhouettes
from zipperasr.report.collect import ALIGNMENT
from zipperasr.report.evidence import steps_to_loss
from zipperasr.report.groups import HIGH, LOW, SOURCE
from zipperasr.report.paper import INITIAL_B, SOFT, SYSTEMS, ZIPPERS

MARGIN = 0.05  # relative difference in error rate that counts as on par
RELATED = (("ja", "ko"), ("th", "vi"))  # the paper's examples for Fig. 7
RELABELLINGS = 10_000

Statistic = Callable[[int | None], np.ndarray | None]  # of a seed


def better(scored: Scored, one: Cell, other: Cell, scope: str) -> Comparison:
    """Is the error rate of `one` lower than that of `other`? Seeds are paired."""
    found = over_seeds(scored, (one, other), lambda *rates: rates[1] - rates[0], scope)
    if one.label == other.label:
        return Comparison(f"{one.label}: {one.regime} against {other.regime}", found)
    return Comparison(f"{one.label} against {other.label}, {one.regime}", found)


def zippers_win_on_low_resource(scored: Scored) -> Claim:
    cells = product(REGIMES, ZIPPERS, ("vanilla", "independent"))
    rows = [better(scored, Cell(zipper, regime), Cell(other, regime), LOW) for regime, zipper, other in cells]
    text = "All Zipper variants beat vanilla and independent on the four languages with 1 h."
    return Claim(1, text, "percentage points better, mean of the low-resource languages", rows)


def zippers_beat_flylora(scored: Scored) -> Claim:
    cells = product(REGIMES, ZIPPERS)
    rows = [better(scored, Cell(zipper, regime), Cell("flylora", regime), TARGET) for regime, zipper in cells]
    return Claim(2, "Zipper also beats FlyLoRA.", "percentage points better, mean of the twelve target languages", rows)


def soft_matches_independent(scored: Scored) -> Claim:
    rows = []
    for regime in REGIMES:
        one, other = Cell(SOFT, regime), Cell("independent", regime)
        found = over_seeds(scored, (one, other), lambda soft, own: 100 * (own - soft) / own[0], HIGH)
        rows.append(Comparison(f"{SOFT} against independent, {regime}", found, floor=-100 * MARGIN))
    measure = "per cent of independent's error rate better, mean of the high-resource languages; "
    measure += f"above −{100 * MARGIN:.0f} % is a match"
    return Claim(3, "Soft matches or beats independent on the high-resource languages.", measure, rows)


def initial_b_is_best(scored: Scored) -> Claim:
    cells = product(REGIMES, VARIANTS)
    rows = [better(scored, Cell(INITIAL_B, regime), Cell(other, regime), TARGET) for regime, other in cells]
    return Claim(
        4, "Soft with Initial-B is best overall.", "percentage points better, mean of the twelve target languages", rows
    )


def initial_b_converges_faster(scored: Scored) -> Claim:
    rows = []
    for regime in REGIMES:
        steps = {label: _steps(scored, Cell(label, regime)) for label in (SOFT, INITIAL_B)}
        shared = sorted(steps[SOFT].keys() & steps[INITIAL_B].keys(), key=lambda seed: seed or 0)
        saved = [np.array([100 * (1 - steps[INITIAL_B][seed] / steps[SOFT][seed])]) for seed in shared]
        rows.append(Comparison(f"{INITIAL_B} against {SOFT}, {regime}", estimate(saved) if saved else None))
    measure = "per cent fewer steps until vanilla's last dev loss is reached, all steps if it never is; over seeds only"
    return Claim(5, "Initial-B speeds up convergence.", measure, rows)


def order_holds_in_both_regimes(scored: Scored) -> Claim:
    cells = [Cell(label, regime) for regime in REGIMES for label in SYSTEMS]
    found = over_seeds(scored, cells, lambda *rates: _kendall(rates[: len(SYSTEMS)], rates[len(SYSTEMS) :]), TARGET)
    measure = "Kendall's tau between the orders of the systems in the two regimes, mean of the twelve target languages"
    rows = [Comparison(f"{len(SYSTEMS)} systems", found)]
    return Claim(6, "The order of the systems holds chunked and full-context.", measure, rows)


def context_helps_targets(scored: Scored) -> Claim:
    chunked, full = REGIMES.index("chunked"), REGIMES.index("full")
    rows = []
    for label in SYSTEMS:
        pair = [Cell(label, regime) for regime in REGIMES]
        rows.append(better(scored, pair[full], pair[chunked], TARGET))
    alignment = [Cell(ALIGNMENT, regime) for regime in REGIMES]
    wenet = better(scored, alignment[chunked], alignment[full], "wenetspeech")
    rows.append(Comparison(f"WenetSpeech: {wenet.what}", wenet.estimate))
    msr = better(scored, alignment[chunked], alignment[full], "msr86k")
    margin = MARGIN * scored.mean(alignment[full], None, "msr86k")[0] if msr.estimate else 0.0
    rows.append(Comparison(f"MSR-86K, on par: {msr.what}", msr.estimate, -margin, margin))
    text = "Full context has lower error on target languages; chunked is better on WenetSpeech, on par on MSR-86K."
    measure = "percentage points better: mean of twelve target languages; the alignment on its test sets; "
    measure += f"on par is within {100 * MARGIN:.0f} %"
    return Claim(7, text, measure, rows)


def gain_shrinks_but_stays(scored: Scored) -> Claim:
    rows = []
    for regime, label in product(REGIMES, (*ZIPPERS, INITIAL_B)):
        cells = [Cell(name, regime, setting) for setting in ("1h", "30h") for name in ("vanilla", label)]
        stays = over_seeds(scored, cells[2:], _gain, LOW)
        shrinks = over_seeds(scored, cells, lambda v_1, z_1, v_30, z_30: _gain(v_1, z_1) - _gain(v_30, z_30), LOW)
        rows.append(Comparison(f"{label}, {regime}: gain with 30 h", stays))
        rows.append(Comparison(f"{label}, {regime}: gain with 1 h minus gain with 30 h", shrinks))
    measure = "gain: per cent of vanilla's error rate, mean of the low-resource languages"
    return Claim(8, "The gain shrinks from 1 h to 30 h, but stays.", measure, rows)


def source_is_forgotten(scored: Scored) -> Claim:
    rows = []
    for regime in REGIMES:
        cells = {label: Cell(label, regime) for label in SYSTEMS}
        before = Cell(ALIGNMENT, regime)
        rows += [better(scored, before, cell, SOURCE) for cell in cells.values()]
        vanilla, hard = cells.pop("vanilla"), cells.pop("zipper_hard")
        rows += [better(scored, other, vanilla, SOURCE) for other in (hard, *cells.values())]
        rows += [better(scored, hard, other, SOURCE) for other in cells.values()]
        wenet = better(scored, cells["independent"], vanilla, "wenetspeech")
        rows.append(Comparison(f"WenetSpeech: {wenet.what}", wenet.estimate))
    text = "SFT forgets the source domain: vanilla most, hard least, independent stable on WenetSpeech."
    return Claim(9, text, "percentage points better, mean of the source languages", rows)


def related_languages_are_close(codes: list[str], cosines: np.ndarray) -> Claim:
    """Mean cosine of the paper's related pairs over that of all pairs, against languages relabelled at random."""
    text = "Whisper's LID embeddings put related languages close."
    pairs = " and ".join("-".join(pair) for pair in RELATED)
    measure = f"cosine of {pairs} minus the mean over all pairs, and by how much that is above 95 % of random pairs"
    if not {code for pair in RELATED for code in pair} <= set(codes):
        return Claim(10, text, measure, [])
    rows, columns = np.array([[codes.index(code) for code in pair] for pair in RELATED]).T
    everyone = cosines[~np.eye(len(codes), dtype=bool)].mean()
    generator = np.random.default_rng(0)
    orders = generator.permuted(np.tile(np.arange(len(codes)), (RELABELLINGS, 1)), axis=1)
    drawn = cosines[orders[:, rows], orders[:, columns]].mean(1) - everyone
    value, low, high = cosines[rows, columns].mean() - everyone, *np.quantile(drawn, (0.025, 0.975))
    # the interval of random pairs around the estimate: above zero if the estimate is above chance
    found = Estimate(float(value), float(value - high), float(value - low), 1)
    return Claim(10, text, measure, [Comparison("token embeddings", found)])


def soft_separates_languages(scored: Scored) -> Claim:
    rows = []
    for regime in REGIMES:
        cells = [Cell(label, regime) for label in (SOFT, "vanilla")]
        by_seed = []
        for seed in scored.seeds(*cells):
            soft, vanilla = (silhouettes(scored.decoding(cell, seed), scored.languages) for cell in cells)
            if soft is not None and vanilla is not None:
                by_seed.append(soft - vanilla)
        rows.append(Comparison(f"{SOFT} against vanilla, {regime}", estimate(by_seed) if by_seed else None))
    text = "Encoder outputs cluster by language more cleanly under soft than under vanilla."
    return Claim(11, text, "silhouette by language (cosine distance) of utterance means, higher by", rows)


def zipper_is_smaller(parameters: dict[str, int]) -> Claim:
    """parameters: trained ones of the encoder's adapters and router, by variant."""
    rows = []
    for label in ZIPPERS:
        found = None
        if {label, "independent"} <= parameters.keys():
            fewer = 100 * (1 - parameters[label] / parameters["independent"])
            found = Estimate(fewer, fewer, fewer, 1)
        rows.append(Comparison(f"{label} against independent", found))
    return Claim(12, "Zipper uses fewer parameters than independent.", "per cent fewer in the encoder; exact", rows)


def all_claims(scored: Scored, codes: list[str], cosines: np.ndarray, parameters: dict[str, int]) -> Iterator[Claim]:
    """The twelve, in order."""
    for claim in (
        zippers_win_on_low_resource,
        zippers_beat_flylora,
        soft_matches_independent,
        initial_b_is_best,
        initial_b_converges_faster,
        order_holds_in_both_regimes,
        context_helps_targets,
        gain_shrinks_but_stays,
        source_is_forgotten,
    ):
        yield claim(scored)
    yield related_languages_are_close(codes, cosines)
    yield soft_separates_languages(scored)
    yield zipper_is_smaller(parameters)


def over_seeds(scored: Scored, cells, statistic: Callable[..., np.ndarray], scope: str) -> Estimate | None:
    """`statistic` of the cells' error rates over their common seeds; None if a rate is missing."""
    by_seed = []
    for seed in scored.seeds(*cells):
        rates = [scored.mean(cell, seed, scope) for cell in cells]
        if any(rate is None for rate in rates):
            return None
        by_seed.append(statistic(*rates))
    return estimate(by_seed) if by_seed else None


def _gain(vanilla: np.ndarray, zipper: np.ndarray) -> np.ndarray:
    return 100 * (vanilla - zipper) / vanilla


def _kendall(one, other) -> np.ndarray:
    """Kendall's tau-a between two tuples of arrays, element by element."""
    one, other = np.stack(one), np.stack(other)
    left, right = np.triu_indices(len(one), 1)
    return (np.sign(one[left] - one[right]) * np.sign(other[left] - other[right])).mean(0)


def _steps(scored: Scored, cell: Cell) -> dict[int | None, float]:
    """By seed: steps to vanilla's last dev loss; all steps if it is never reached."""
    found = {}
    vanilla = scored.trainings(cell._replace(label="vanilla"))
    for seed, training in scored.trainings(cell).items():
        if seed in vanilla and vanilla[seed].dev and training.dev:
            steps = steps_to_loss(training, vanilla[seed].dev[-1]["loss"])
            found[seed] = training.dev[-1]["step"] if steps is None else steps
    return found
