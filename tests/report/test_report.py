from __future__ import annotations

import re

import pytest

from zipperasr.stages.report import main


def test_page_holds_every_part_and_links_to_existing_figures(reported):
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
    assert len(links) == 7
    assert all((reported / link).is_file() for link in links)
    assert "zh: no adaptation data" in page
    assert "./run.sh --lora zipper_soft" in page
    assert "cos(ja, ko) = " in page


def test_page_has_no_absolute_path(reported):
    assert str(reported) not in (reported / "RESULTS.md").read_text(encoding="utf-8")


def test_benchmark_page_names_device_and_stages(reported):
    text = (reported / "benchmarks" / "make_run.md").read_text(encoding="utf-8")
    assert "| 5 | alignment | 150.2 | 1800 |" in text
    assert "| CPU |" in text and "| torch |" in text


def test_another_report_of_the_same_run_is_the_same(reported, report_argv, run_dir):
    assert main(report_argv) == 0
    assert (run_dir / "RESULTS.md").read_bytes() == (reported / "RESULTS.md").read_bytes()


def test_absent_parts_name_their_stage(run_dir, report_argv):
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
    assert "(no exp/stages.tsv; asr.sh writes it)" in page
    assert "(no data/report.tsv; stage 1 writes it)" in page
    assert "(no packing.json; stage 3 writes it)" in page
    assert "(stage 2 has not run)" in page
    assert "lid_token.png" not in page


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("exp", "nothing is scored yet; run stages 7 and 8 first"),
        ("conf/datasets.tsv", "datasets.tsv"),
    ],
)
def test_what_is_missing_ends_in_one_line(run_dir, report_argv, capsys, remove, message):
    (run_dir / remove).rename(run_dir / "elsewhere")
    assert main(report_argv) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("report: error:") and message in last
    assert not (run_dir / "RESULTS.md").exists()


def test_report_html_stands_beside_the_results_unless_it_is_not_wanted(reported, run_dir, report_argv):
    assert '<script type="application/gzip"' in (reported / "report.html").read_text(encoding="utf-8")
    assert main([*report_argv, "--html", "false"]) == 0
    assert not (run_dir / "report.html").exists()


def test_a_second_report_stops_before_it_writes(run_dir, report_argv, capsys, held_elsewhere):
    message = held_elsewhere(run_dir / "RESULTS.md")
    assert main(report_argv) == 1
    assert message in capsys.readouterr().err
    assert not (run_dir / "RESULTS.md").exists()
