"""The result tables of RESULTS.md.

In: decodings and language groups. Out: Markdown. A language with several test sets (LibriSpeech clean and other) enters
a group's mean once, with the mean of its sets; a mean is shown only if every language of the group has a score. Seeds
of one system share a row: mean and standard deviation.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from statistics import fmean, stdev

from zipperasr.languages import LanguageTable
from zipperasr.markdown import percent, table
from zipperasr.report.collect import Decoding, by_system
from zipperasr.report.groups import GROUPS, SOURCE, Groups
from zipperasr.score.scores_table import SetScore

LABELS = ["system", "encoder", "search"]
NO_SFT_DATA = "\\*"  # marks source languages without adaptation data


def main_scores(decoding: Decoding, languages: LanguageTable) -> list[SetScore]:
    """One score per test set: by the unit and normaliser of the language table."""
    return [score for score in decoding.scores if score.normaliser == languages[score.language].normaliser]


def rate_by_language(decoding: Decoding, group: str, groups: Groups, languages: LanguageTable) -> dict[str, float]:
    """Error rate per language of `group`, the mean over a language's test sets."""
    rates: dict[str, list[float]] = {}
    for score in main_scores(decoding, languages):
        if groups.of(score) == group:
            rates.setdefault(score.language, []).append(score.rate)
    return {code: fmean(values) for code, values in rates.items()}


def group_mean(rates: dict[str, float], codes: Sequence[str]) -> float | None:
    """Mean over the group's languages; None if one of them has no score."""
    return fmean(rates[code] for code in codes) if codes and all(code in rates for code in codes) else None


def mean_rate(decoding: Decoding, group: str, groups: Groups, languages: LanguageTable) -> float | None:
    """`group_mean` of one decoding."""
    return group_mean(rate_by_language(decoding, group, groups, languages), groups.codes(group))


def over_seeds(values: Sequence[float | None]) -> str:
    """One value, or the mean of several with their standard deviation; a dash if one is missing."""
    if len(values) == 1 or None in values:
        return percent(values[0] if len(values) == 1 else None)
    return f"{percent(fmean(values))} ± {stdev(values):.2f}"


def overview(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
    """One line per system: the mean of each group that was decoded, and the decoding speed."""
    decoded = {groups.of(score) for decoding in decodings for score in decoding.scores}
    shown = [group for group in GROUPS if group in decoded]
    header = [*LABELS, *(f"{group}: mean of {len(groups.codes(group))}" for group in shown), "audio s per s"]
    rows = []
    for runs in by_system(decodings):
        means = [over_seeds([mean_rate(run, group, groups, languages) for run in runs]) for group in shown]
        rows.append([*system_labels(runs), *means, over_seeds([run.audio_s_per_s for run in runs])])
    return table(header, rows, len(LABELS))


def group_table(
    decodings: Sequence[Decoding],
    group: str,
    groups: Groups,
    languages: LanguageTable,
    published: Mapping[tuple[str, str, str], float] | None = None,
) -> str:
    """Systems by test sets of one group, with the mean over its languages; empty if no set of it was decoded.

    published: rates to show in brackets, by label, encoder regime and test set.
    """
    codes = groups.codes(group)
    scores_of = functools.partial(_group_scores, group=group, groups=groups, languages=languages)
    sets = {score.set: score for decoding in decodings for score in scores_of(decoding)}
    columns = sorted(sets.values(), key=lambda score: (languages.codes.index(score.language), score.set))
    if not columns:
        return ""
    header = [*LABELS, *(set_label(score, groups, columns) for score in columns), f"mean of {len(codes)}"]
    averages = {} if group == SOURCE else _averages(columns)
    for language, last in reversed(averages.items()):
        header.insert(len(LABELS) + last + 1, f"{language} average")
    rows = []
    for runs in by_system(decodings):
        rates = [{score.set: score.rate for score in scores_of(run)} for run in runs]
        if not any(rates):
            continue
        cells = [over_seeds([rate.get(column.set) for rate in rates]) for column in columns]
        for place, column in enumerate(columns):
            figure = (published or {}).get((runs[0].model.label, runs[0].regime, column.set))
            cells[place] += f" ({percent(figure)})" if figure is not None else ""
        by_language = [rate_by_language(run, group, groups, languages) for run in runs]
        for language, last in reversed(averages.items()):
            cells.insert(last + 1, over_seeds([rate.get(language) for rate in by_language]))
        rows.append([*system_labels(runs), *cells, over_seeds([group_mean(rate, codes) for rate in by_language])])
    return table(header, rows, len(LABELS))


def _averages(columns: Sequence[SetScore]) -> dict[str, int]:
    """{language with several test sets: index of its last column}."""
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(column.language, []).append(place)
    return {language: found[-1] for language, found in places.items() if len(found) > 1}


def _group_scores(decoding: Decoding, group: str, groups: Groups, languages: LanguageTable) -> list[SetScore]:
    return [score for score in main_scores(decoding, languages) if groups.of(score) == group]


def marks_table(decodings: Sequence[Decoding], languages: LanguageTable) -> str:
    """Test sets that are scored with and without combining marks; empty if there is none."""
    rows = []
    for runs in by_system(decodings):
        usual = [{score.set: score for score in main_scores(run, languages)} for run in runs]
        marked = [{score.set: score for score in run.scores if score.normaliser == "whisper_marks"} for run in runs]
        for name in dict.fromkeys(name for scores in marked for name in scores):
            found = [(main[name], scores[name]) for main, scores in zip(usual, marked, strict=True) if name in scores]
            without, score = found[0]
            if without is score:
                continue
            of_runs = [[scores[name].rate if name in scores else None for scores in by] for by in (usual, marked)]
            units = f"{without.ref_units} / {score.ref_units}"
            rows.append([*system_labels(runs), name, score.unit.upper(), *map(over_seeds, of_runs), units])
    header = [*LABELS, "test set", "unit", "`whisper`, %", "`whisper_marks`, %", "reference units"]
    return table(header, rows, len(LABELS) + 2) if rows else ""


def oracle_table(decodings: Sequence[Decoding], languages: LanguageTable) -> str:
    """Test sets with n-best lists: their error rate, and that of the best alternatives; empty if there is none."""
    rows = []
    for runs in by_system(decodings):
        found = [
            {one.set: one for one in run.oracles if one.normaliser == languages[one.language].normaliser}
            for run in runs
        ]
        for name in dict.fromkeys(name for oracles in found for name in oracles):
            of_runs = [oracles.get(name) for oracles in found]
            one = next(other for other in of_runs if other)
            rates = over_seeds([other.rate if other else None for other in of_runs])
            best = over_seeds([other.oracle_rate if other else None for other in of_runs])
            rows.append([*system_labels(runs), name, one.unit.upper(), str(one.nbest), rates, best])
    header = [*LABELS, "test set", "unit", "N", "error rate, %", "oracle of N best, %"]
    return table(header, rows, len(LABELS) + 2) if rows else ""


def counts_table(decodings: Sequence[Decoding], languages: LanguageTable) -> str:
    """Every main score with its counts, of unique utterances and as listed, ours and jiwer's."""
    header = [*LABELS, "test set", "unit", "normaliser", "utts", "ref units", "sub", "del", "ins", "errors"]
    header += ["jiwer", "rate %", "utts listed", "rate listed %", "empty hyp", "empty ref"]
    rows = []
    for decoding in decodings:
        for s in main_scores(decoding, languages):
            counts = [s.utts, s.ref_units, s.substitutions, s.deletions, s.insertions, s.errors, s.jiwer_errors]
            listed = [str(s.listed_utts), percent(s.listed_rate), str(s.empty), str(s.emptied_refs)]
            cells = [s.set, s.unit.upper(), s.normaliser, *map(str, counts), percent(s.rate), *listed]
            rows.append([*_labels(decoding), *cells])
    return table(header, rows, len(LABELS) + 3)


def all_scores(decodings: Sequence[Decoding]) -> str:
    """Every score of every decoding as tab-separated values: the data of all tables."""
    names = [field.name for field in fields(SetScore)]
    lines = ["\t".join(["model", "decoding", *names])]
    for decoding in decodings:
        for score in decoding.scores:
            lines.append("\t".join([decoding.model.directory.name, decoding.directory.name, *map(str, astuple(score))]))
    return "\n".join(lines) + "\n"


def _labels(decoding: Decoding) -> list[str]:
    return [f"`{decoding.model.title}`", decoding.regime, decoding.search]


def system_labels(runs: Sequence[Decoding]) -> list[str]:
    """Cells of LABELS for the runs of one system."""
    if len(runs) == 1:
        return _labels(runs[0])
    return [f"`{runs[0].model.system}`, {len(runs)} seeds", runs[0].regime, runs[0].search]


def set_label(score: SetScore, groups: Groups, others: Sequence[SetScore]) -> str:
    """Language code; corpus and subset if there are several; the unit unless words; NO_SFT_DATA if it applies."""
    subset = score.set.removeprefix(f"test_{score.corpus}_{score.language}").strip("_")
    corpora = {other.corpus for other in others if other.language == score.language}
    corpus = score.corpus if len(corpora) > 1 else ""
    unit = "(CER)" if score.unit == "cer" else ""
    mark = NO_SFT_DATA if score.language in groups.without_sft_data else ""
    return " ".join(word for word in (score.language + mark, corpus, subset, unit) if word)
