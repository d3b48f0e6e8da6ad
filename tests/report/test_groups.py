from __future__ import annotations

import pytest

from zipperasr.report.collect import added_languages, find_decodings
from zipperasr.report.groups import load_groups


@pytest.mark.parametrize("table", ["recipe", "example"])
def test_groups_are_determined_by_the_hours_in_table_1(table, recipe, pristine_run, languages):
    conf = recipe if table == "recipe" else pristine_run
    groups = load_groups(conf / "conf" / "datasets.tsv", languages)
    assert groups.source == ["en", "fr", "th", "zh"]
    assert groups.high == ["en", "fr", "th", "de", "es", "ru", "vi", "it"]
    assert groups.low == ["ar", "ja", "ko", "pt"]
    assert groups.without_sft_data == ["zh"]


def test_an_added_language_is_in_no_other_group(run_dir, languages):
    (run_dir / "exp" / "more").mkdir()
    (run_dir / "exp" / "more" / "config.yaml").write_text("phase: sft\nadded: [pt]\n", encoding="utf-8")
    groups = load_groups(run_dir / "conf" / "datasets.tsv", languages, added_languages(run_dir / "exp"))
    assert (groups.low, groups.added) == (["ar", "ja", "ko"], ["pt"])
    scores = {score.set: score for score in find_decodings(run_dir / "exp")[1].scores}
    assert groups.of(scores["test_commonvoice_pt"]) == "added"


def test_a_language_of_both_phases_is_grouped_by_its_set(pristine_run, languages):
    groups = load_groups(pristine_run / "conf" / "datasets.tsv", languages)
    scores = {score.set: score for score in find_decodings(pristine_run / "exp")[0].scores}
    assert groups.of(scores["test_msr86k_th"]) == "source"
    assert groups.of(scores["test_commonvoice_th"]) == "high-resource"
    assert groups.of(scores["test_msr86k_ru"]) == "high-resource"
    assert groups.of(scores["test_commonvoice_ko"]) == "low-resource"
