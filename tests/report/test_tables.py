from __future__ import annotations

from dataclasses import replace

import pytest

from zipperasr.markdown import percent, table
from zipperasr.report.collect import find_decodings
from zipperasr.report.groups import load_groups
from zipperasr.report.tables import (
    counts_table,
    group_mean,
    group_table,
    marks_table,
    oracle_table,
    overview,
    rate_by_language,
)
from zipperasr.score.oracle import OracleScore


@pytest.fixture
def vanilla(pristine_run):
    return find_decodings(pristine_run / "exp")[1]


@pytest.fixture
def groups(pristine_run, languages):
    return load_groups(pristine_run / "conf" / "datasets.tsv", languages)


def test_a_table_has_a_column_per_language_and_the_mean(vanilla, groups, languages):
    lines = group_table([vanilla], "low-resource", groups, languages).splitlines()
    assert lines[0] == "| system | encoder | search | ar | ja (CER) | ko (CER) | pt | mean of 4 |"
    assert lines[2] == "| `vanilla` | chunked | greedy | 11.11 | 6.25 | 6.67 | 11.11 | 8.78 |"


def test_source_without_sft_data_is_marked(vanilla, groups, languages):
    assert "| zh\\* (CER) |" in group_table([vanilla], "source", groups, languages)


def test_two_test_sets_of_a_language_are_one_term_of_the_mean(vanilla, groups, languages):
    """LibriSpeech clean and other are two columns but one term of the mean."""
    clean = next(score for score in vanilla.scores if score.set == "test_librispeech_en")
    split = [
        replace(clean, set=f"test_librispeech_en_{part}", rate=rate) for part, rate in (("clean", 10), ("other", 30))
    ]
    rest = [score for score in vanilla.scores if score is not clean]
    both = replace(vanilla, scores=[*rest, *split])
    assert rate_by_language(both, "high-resource", groups, languages)["en"] == 20
    header = group_table([both], "high-resource", groups, languages).splitlines()[0]
    assert "| en clean | en other | en average | fr |" in header
    assert "mean of 8" in header


def test_two_corpora_of_a_language_have_separate_columns(vanilla, groups, languages):
    """pt is from Common Voice in the 1 h setting and from MLS in the 30 h setting."""
    usual = next(score for score in vanilla.scores if score.language == "pt")
    other = replace(vanilla, scores=[replace(usual, set="test_mls_pt", corpus="mls")])
    header = group_table([vanilla, other], "low-resource", groups, languages).splitlines()[0]
    assert "| ko (CER) | pt commonvoice | pt mls |" in header


def test_decoding_speed_is_audio_per_second(vanilla, groups, languages):
    """In the example, each set has 4.5 s of audio, decoded in 0.5 s."""
    assert overview([vanilla], groups, languages).splitlines()[2].endswith("| 9.00 |")
    assert overview([replace(vanilla, audio_s_per_s=None)], groups, languages).splitlines()[2].endswith("| – |")


def test_seeds_share_one_row_with_mean_and_standard_deviation(vanilla, groups, languages):
    runs = []
    for seed, rate in ((1, 10.0), (2, 14.0)):
        model = replace(vanilla.model, seed=seed, among_seeds=True)
        scores = [replace(score, rate=rate) for score in vanilla.scores]
        runs.append(replace(vanilla, model=model, scores=scores, directory=vanilla.directory / str(seed)))
    low = group_table(runs, "low-resource", groups, languages).splitlines()
    assert len(low) == 3
    assert low[2].startswith("| `vanilla`, 2 seeds | chunked | greedy | 12.00 ± 2.83 |")
    assert "| 12.00 ± 2.83 | 9.00 ± 0.00 |" in overview(runs, groups, languages)
    assert "`vanilla seed 2`" in counts_table(runs, languages)
    gap = replace(runs[1], scores=[score for score in runs[1].scores if score.language != "ko"])
    assert group_table([runs[0], gap], "low-resource", groups, languages).splitlines()[2].count("–") == 2


def test_an_incomplete_group_has_no_mean(vanilla, groups, languages):
    partly = replace(vanilla, scores=[score for score in vanilla.scores if score.language != "ko"])
    assert group_mean(rate_by_language(partly, "low-resource", groups, languages), groups.low) is None
    assert overview([partly], groups, languages).splitlines()[2].endswith("| – | 9.00 |")
    assert "| – | 11.11 | – |" in group_table([partly, vanilla], "low-resource", groups, languages).splitlines()[2]


def test_a_group_without_decodings_has_no_column(vanilla, groups, languages):
    target_only = replace(vanilla, scores=[score for score in vanilla.scores if groups.of(score) != "source"])
    header = "| system | encoder | search | high-resource: mean of 8 | low-resource: mean of 4 | audio s per s |"
    assert overview([target_only], groups, languages).splitlines()[0] == header


def test_a_group_without_decodings_has_no_table(vanilla, groups, languages):
    target_only = replace(vanilla, scores=[score for score in vanilla.scores if groups.of(score) != "source"])
    assert group_table([target_only], "source", groups, languages) == ""


def test_marks_table_shows_both_rates(vanilla, languages):
    assert "| test_commonvoice_ar | WER | 11.11 | 20.00 | 9 / 5 |" in marks_table([vanilla], languages)
    usual = [score for score in vanilla.scores if score.normaliser != "whisper_marks"]
    assert marks_table([replace(vanilla, scores=usual)], languages) == ""
    first, second = (replace(vanilla, model=replace(vanilla.model, seed=seed, among_seeds=True)) for seed in (1, 2))
    rows = marks_table([replace(first, scores=usual), second], languages).splitlines()[2:]
    assert "| `vanilla`, 2 seeds | chunked | greedy | test_commonvoice_ar | WER | 11.11 ± 0.00 | – | 9 / 5 |" in rows


def test_the_oracle_table_has_the_test_sets_of_every_seed(vanilla, languages):
    runs = []
    for seed, codes in ((1, ("de",)), (2, ("de", "es"))):
        oracles = [
            OracleScore(f"test_mls_{code}", code, "wer", languages[code].normaliser, 3, 4, 4.0, 8, 2, 1, 25.0, 12.5)
            for code in codes
        ]
        model = replace(vanilla.model, seed=seed, among_seeds=True)
        runs.append(replace(vanilla, model=model, oracles=oracles))
    seeds = "| `vanilla`, 2 seeds | chunked | greedy"
    assert oracle_table(runs, languages).splitlines()[2:] == [
        f"{seeds} | test_mls_de | WER | 4 | 25.00 ± 0.00 | 12.50 ± 0.00 |",
        f"{seeds} | test_mls_es | WER | 4 | – | – |",
    ]


def test_counts_include_unique_and_listed_utterances_and_jiwers_errors(vanilla, languages):
    line = next(line for line in counts_table([vanilla], languages).splitlines() if "test_mls_de" in line)
    assert line.endswith("| WER | whisper | 3 | 8 | 1 | 0 | 0 | 1 | 1 | 12.50 | 4 | 11.11 | 0 | 0 |")


def test_cells_are_escaped():
    assert table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"


def test_rate_without_reference_units_is_a_dash():
    assert [percent(None), percent(float("nan")), percent(12.345)] == ["–", "–", "12.35"]
