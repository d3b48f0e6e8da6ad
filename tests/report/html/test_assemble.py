from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace

import pytest

from tests.report.html.conftest import PageData
from tests.report.html.example import ENGLISH, EVIL, SYSTEMS, add_to_score, set_flags
from zipperasr.datadir.entry import write_lines
from zipperasr.report.html.template import SCRIPTS
from zipperasr.score.scores_table import read_scores, write_scores
from zipperasr.text_lines import BLOCK_BYTES

AUDIT = f"exp/{SYSTEMS[0]}/decode_greedy_chunked/test_librispeech_en/score_wer/audit.jsonl"


def damage(run, edit):
    """Modify the second line of an audit."""
    lines = (run / AUDIT).read_text(encoding="utf-8").split("\n")
    lines[1] = edit(lines[1])
    (run / AUDIT).write_text("\n".join(lines), encoding="utf-8")


def with_value(name, value):
    return lambda line: json.dumps(json.loads(line) | {name: value})


def test_page_contains_scores_and_utterances_of_both_systems(run, build):
    assert build(run) == 0
    page = PageData(run / "report.html")
    assert [system["name"] for system in page.index["systems"]] == ["Alignment", "zipper_soft"]
    place = page.column("test_librispeech_en", "whisper_en")
    cells = [row[place] for row in page.index["scores"]]
    assert [cell["utts"] for cell in cells] == [len(ENGLISH)] * 2
    assert cells[0]["blocks"]["shared"] == cells[1]["blocks"]["shared"], "references are stored once"
    shared, own = (page.rows(cells[0]["blocks"][name]) for name in ("shared", "own"))
    assert [row[0] for row in shared] == sorted(row[0] for row in shared)
    row = next(number for number, row in enumerate(shared) if row[3] == "the red house")
    assert shared[row] == ["spk1-en00001", "spk1", 0.5, "the red house", "the red house", 1]
    assert own[row] == ["the red mouse", "the red mouse", "CCS"]


def test_arabic_is_included_with_and_without_marks(run, build):
    assert build(run) == 0
    page = PageData(run / "report.html")
    ways = {(column["name"], column["unit"], column["normaliser"]) for column in page.index["columns"]}
    assert {("Arabic", "wer", "whisper"), ("Arabic", "wer", "whisper_marks")} <= ways


def test_a_scoring_that_changes_no_counts_has_no_column(run, build):
    """Without Arabic marks in references and hypotheses, both normalisers give the same counts."""
    for table in run.glob("exp/*/*/scores.tsv"):
        rows = read_scores(table)
        usual = next(row for row in rows if (row.language, row.normaliser) == ("ar", "whisper"))
        counts = {name: getattr(usual, name) for name in ("ref_units", "substitutions", "deletions", "insertions")}
        write_scores(table, [replace(row, **counts) if row.normaliser == "whisper_marks" else row for row in rows])
    assert build(run) == 0
    page = PageData(run / "report.html")
    assert "whisper_marks" not in {column["normaliser"] for column in page.index["columns"]}
    assert all(len(row) == len(page.index["columns"]) for row in page.index["scores"])
    note = "test_commonvoice_ar: WER with whisper_marks is not shown; it is the same as with whisper"
    assert note in page.index["notes"]


def test_a_second_page_of_the_same_run_is_identical(run, build):
    assert build(run) == 0
    first = (run / "report.html").read_bytes()
    assert build(run) == 0
    assert (run / "report.html").read_bytes() == first


def test_intervals_are_taken_from_score_json_only(run, build):
    directory = (run / AUDIT).parent
    add_to_score(directory, low=10.25, high=99.5, resampled_by="speaker")
    for other in (run / "exp").glob("*/*/*/score_*"):
        if other != directory:
            record = json.loads((other / "score.json").read_text(encoding="utf-8"))
            kept = {key: value for key, value in record.items() if key not in ("low", "high", "resampled_by")}
            (other / "score.json").write_text(json.dumps(kept), encoding="utf-8")
    assert build(run) == 0
    page = PageData(run / "report.html")
    intervals = {
        (c["interval"] and tuple(c["interval"]), c["resampled_by"]) for row in page.index["scores"] for c in row
    }
    assert intervals == {((10.25, 99.5), "speaker"), (None, None)}


def test_a_rate_that_is_not_a_number_becomes_none(run, build):
    add_to_score((run / AUDIT).parent, low=float("nan"), high=float("nan"))
    assert build(run) == 0
    page = PageData(run / "report.html")
    assert page.index["scores"][0][page.column("test_librispeech_en", "whisper_en")]["interval"] is None


def test_flags_of_stage_8_are_included(run, build):
    set_flags((run / AUDIT).parent, {"spk1-en00004": ["loop", "burst"]})
    assert build(run) == 0
    page = PageData(run / "report.html")
    blocks = page.index["scores"][0][page.column("test_librispeech_en", "whisper_en")]["blocks"]
    assert blocks["flagged"] is True
    assert [row[3] for row in page.rows(blocks["own"]) if len(row) > 3] == [["loop", "burst"]]


def test_transcripts_cannot_end_or_start_an_element(run, build):
    """Ids, notes and texts, the only foreign content of the page, are compressed or JSON without `<`."""
    assert build(run) == 0
    page = PageData(run / "report.html")
    assert EVIL not in page.text and "onerror" not in page.text and "alert(" not in page.text
    assert "<" not in re.search(r'id="index">(.*?)</script>', page.text, re.DOTALL)[1]
    rows = [row for cell in page.index["scores"][0] if cell for row in page.rows(cell["blocks"]["shared"])]
    assert any(row[3] == EVIL for row in rows)


def test_policy_allows_only_the_pages_script_and_style(run, build):
    assert build(run) == 0
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', (run / "report.html").read_text("utf-8"))
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert policy.count("'sha256-") == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda line: line[:20], "audit.jsonl:2: not a JSON object"),
        (lambda line: "[]", "audit.jsonl:2: got list, wanted a JSON object"),
        (with_value("operations", 3), "audit.jsonl:2: 'operations' is 3, wanted str"),
        (with_value("operations", "CXC"), "got operations 'X', wanted C, S, D, I"),
        (with_value("operations", "CC"), "reference: got 3 units, wanted 2 as the operations say"),
        (with_value("reference", [1, 2, 3]), "sequence item 0: expected str instance, int found"),
        (with_value("reference", ["a", "b c", "d"]), "3 units join to 4; empty units, or units with blanks"),
        (with_value("flags", "loop"), "'flags' is 'loop', wanted a list of names"),
        (with_value("id", "../x"), "id '../x' is empty or contains whitespace or slashes"),
        (with_value("raw_hypothesis", "\ud800"), "is not Unicode"),
    ],
)
def test_a_malformed_audit_line_is_reported_and_nothing_is_written(run, build, capsys, edit, message):
    damage(run, edit)
    assert build(run) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("report.html: error:") and "audit.jsonl:2" in last and message in last
    assert "rerun stage 8" in last or "correct the line" in last
    assert sorted(path.name for path in run.iterdir()) == ["dump", "exp"]


@pytest.mark.parametrize("missing", ["audit.jsonl", "score.json"])
def test_a_missing_score_file_names_stage_8(run, build, capsys, missing):
    (run / AUDIT).with_name(missing).unlink()
    assert build(run) == 1
    assert f"{missing}: no such file; rerun stage 8" in capsys.readouterr().err


def test_an_interval_that_is_not_a_number_is_an_error(run, build, capsys):
    add_to_score((run / AUDIT).parent, low="wide", high=1.0)
    assert build(run) == 1
    assert "score.json: 'low' is 'wide', wanted a number; rerun stage 8" in capsys.readouterr().err


def test_an_older_page_is_kept_if_a_new_one_fails(run, build):
    assert build(run) == 0
    before = (run / "report.html").read_bytes()
    damage(run, lambda line: "{}")
    assert build(run) == 1
    assert (run / "report.html").read_bytes() == before


def test_decodings_can_be_selected(run, build, capsys):
    assert build(run, "--decoding", f"{SYSTEMS[1]}/decode_greedy_chunked") == 0
    assert [system["name"] for system in PageData(run / "report.html").index["systems"]] == ["zipper_soft"]
    assert build(run, "--decoding", "sft_nothing/decode_x") == 1
    assert f"choose from {SYSTEMS[0]}/decode_greedy_chunked, " in capsys.readouterr().err


def test_beyond_max_utts_the_page_has_only_scores_and_a_note(run, build):
    assert build(run, "--max_utts", str(len(ENGLISH) + 4)) == 0
    page = PageData(run / "report.html")
    assert [["blocks" in cell for cell in row] for row in page.index["scores"]] == [[True] * 3, [False] * 3]
    assert any(note.startswith("Scores only, from zipper_soft, test_") for note in page.index["notes"])


def test_without_durations_the_page_has_a_note(run, build):
    (run / "dump/raw/test_librispeech_en/utt2dur").unlink()
    assert build(run) == 0
    page = PageData(run / "report.html")
    blocks = page.index["scores"][0][page.column("test_librispeech_en", "whisper_en")]["blocks"]
    assert {row[2] for row in page.rows(blocks["shared"])} == {None}
    assert any("No durations for test_librispeech_en: " in note for note in page.index["notes"])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("0.5", "long", 1), "got 'long', wanted a number; rerun stage 2"),
        (lambda text: "".join(reversed(text.splitlines(keepends=True))), "in the order of ids; sort it"),
    ],
)
def test_invalid_durations_are_errors(run, build, capsys, edit, message):
    path = run / "dump/raw/test_librispeech_en/utt2dur"
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert build(run) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "utt2dur: " in last and message in last


def test_memory_does_not_grow_with_the_test_set(run, build):
    (run / "dump/raw/test_librispeech_en/utt2dur").unlink()
    long = json.loads((run / AUDIT).read_text(encoding="utf-8").split("\n")[0]) | {"raw_reference": "word " * 300}
    peaks = []
    for num_utts in (2_000, 8_000):
        write_lines(run / AUDIT, (json.dumps(long | {"id": f"spk-{number:06d}"}) for number in range(num_utts)))
        tracemalloc.start()
        assert build(run, "--audio", "none") == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (run / AUDIT).stat().st_size > 10 * BLOCK_BYTES  # lines are decoded block by block
    assert peaks[1] < peaks[0] + BLOCK_BYTES / 4


def test_an_installed_wheel_contains_the_assets(root, tmp_path):
    source = tmp_path / "source"
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    command += ["build", "--build-base", str(source), "bdist_wheel", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for asset in ("head.html", "page.html", "style.css", *(f"{name}.js" for name in SCRIPTS)):
        assert f"zipperasr/report/html/assets/{asset}" in names
