from __future__ import annotations

import re

import pytest

from zipperasr.stages.report import main


def test_page_has_every_section_and_links_to_existing_figures(reported):
    page = (reported / "RESULTS.md").read_text(encoding="utf-8")
    for part in (
        "Table II",
        "Table III",
        "Table IV",
        "Table V",
        "Table VI",
        "Combining marks",
        "Data",
        "Utterance lists",
        "Packing",
        "Time",
    ):
        assert re.search(f"^## {part}", page, re.MULTILINE), part
    links = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert len(links) == 8
    assert all((reported / link).is_file() for link in links)
    assert "zh: no adaptation data" in page
    assert "./run.sh --lora zipper_soft" in page
    assert "cos(ja, ko) = " in page


def test_page_has_no_absolute_path(reported):
    assert str(reported) not in (reported / "RESULTS.md").read_text(encoding="utf-8")


def test_benchmark_page_lists_device_and_stages(reported):
    text = (reported / "benchmarks" / "make_run.md").read_text(encoding="utf-8")
    assert "| 5 | alignment | 150.2 | 1800 |" in text
    assert "| CPU |" in text and "| torch |" in text


def test_a_second_report_of_the_same_run_is_identical(reported, report_argv, run_dir):
    assert main(report_argv) == 0
    assert (run_dir / "RESULTS.md").read_bytes() == (reported / "RESULTS.md").read_bytes()


def test_missing_sections_are_omitted_and_logged(run_dir, report_argv, capsys):
    for path in (
        "exp/stages.tsv",
        "data/report.tsv",
        "dump/manifest/packing.json",
        "exp/lid/cosine_token.tsv",
        "dump/raw/sets.tsv",
    ):
        (run_dir / path).unlink()
    assert main(report_argv) == 0
    page = (run_dir / "RESULTS.md").read_text(encoding="utf-8")
    for heading in ("Time and memory", "Data", "Packing", "Audio", "Languages added", "Cost of training"):
        assert f"## {heading}" not in page
    logged = capsys.readouterr().err
    assert "left out of the report: Time and memory (no exp/stages.tsv; asr.sh writes it)" in logged
    assert "left out of the report: Data (no data/report.tsv; stage 1 writes it)" in logged
    assert "left out of the report: Packing (no packing.json; stage 3 writes it)" in logged
    assert "left out of the report: Audio (stage 2 has not run)" in logged
    assert "lid_token.png" not in page


def test_no_section_is_empty(reported):
    page = (reported / "RESULTS.md").read_text(encoding="utf-8")
    sections = re.split(r"^## .*$", page, flags=re.MULTILINE)
    assert all(section.strip() for section in sections)


def test_one_system_has_no_claims(run_dir, report_argv):
    (run_dir / "exp" / "sft_vanilla_chunked").rename(run_dir / "elsewhere")
    assert main(report_argv) == 0
    assert not (run_dir / "CLAIMS.md").exists()
    page = (run_dir / "RESULTS.md").read_text(encoding="utf-8")
    assert "claim" not in page and "not tested" not in page


def test_two_systems_have_claims(reported):
    assert "[CLAIMS.md](CLAIMS.md)" in (reported / "RESULTS.md").read_text(encoding="utf-8")
    assert (reported / "CLAIMS.md").is_file()


def test_pages_use_the_papers_words_for_groups_and_phases(reported):
    for name in ("RESULTS.md", "CLAIMS.md"):
        page = (reported / name).read_text(encoding="utf-8")
        assert "low-resource" in page and "high-resource" in page
        assert not re.search(r"\b(small|larger) languages|mean of the small", page)
    assert "`Alignment`" in (reported / "RESULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("exp", "nothing is scored yet; run stages 7 and 8 first"),
        ("conf/datasets.tsv", "datasets.tsv"),
    ],
)
def test_missing_inputs_are_reported_in_one_line(run_dir, report_argv, capsys, remove, message):
    (run_dir / remove).rename(run_dir / "elsewhere")
    assert main(report_argv) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stage 9: error:") and message in last
    assert not (run_dir / "RESULTS.md").exists()


def test_report_html_is_written_next_to_the_results_unless_disabled(reported, run_dir, report_argv):
    assert '<script type="application/gzip"' in (reported / "report.html").read_text(encoding="utf-8")
    assert main([*report_argv, "--html", "false"]) == 0
    assert not (run_dir / "report.html").exists()


def test_a_second_report_fails_before_it_writes(run_dir, report_argv, capsys, held_elsewhere):
    message = held_elsewhere(run_dir / "RESULTS.md")
    assert main(report_argv) == 1
    assert message in capsys.readouterr().err
    assert not (run_dir / "RESULTS.md").exists()
