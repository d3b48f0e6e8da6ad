"""The comparison of outputs of stage 8, including the documented command."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.report.example import write_run
from tests.stats.example import draw_systems, write_audit
from zipperasr.score.scores_table import read_scores
from zipperasr.stats.compare import main
from zipperasr.stats.comparison import holm
from zipperasr.stats.paired_tests import TESTS
from zipperasr.stats.utterance_errors import read_audit

PAGES = ("egs2/zipper12/asr1/README.md", "docs/significance.md")
SETS = {"test_mls_de": ("de", "score_wer"), "test_mls_fr": ("fr", "score_wer")}


def write_decoding(decode_dir: Path, utterances_by_set, normaliser: str = "whisper") -> Path:
    """Write the files of a scored decoding that `compare` reads."""
    for (test_set, (language, way)), utterances in zip(SETS.items(), utterances_by_set, strict=False):
        write_audit(decode_dir / test_set / way, utterances)
        score = {"language": language, "unit": "wer", "normaliser": normaliser}
        (decode_dir / test_set / way / "score.json").write_text(json.dumps(score), encoding="utf-8")
    return decode_dir


@pytest.fixture
def decodings(tmp_path) -> list[Path]:
    """Three systems on two test sets of twelve speakers; the third is the worst."""
    drawn = [draw_systems(seed, 8, 12, 12) for seed in (1, 2)]
    return [write_decoding(tmp_path / name, [systems[name] for systems in drawn]) for name in ("sys0", "sys1", "sys5")]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def argv(decode_dirs, *more) -> list[str]:
    return ["--decode_dir", *map(str, decode_dirs), *map(str, more)]


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("page", PAGES)
def test_the_documented_command_compares_two_systems(page, root, recipe, tmp_path, monkeypatch, capsys):
    text = (root / page).read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^ {4}zipperasr compare (.*)$", text, re.M)
    monkeypatch.chdir(write_run(tmp_path, recipe / "conf" / "languages.tsv"))
    capsys.readouterr()
    assert main(shlex.split(command)) == 0
    printed = capsys.readouterr().out
    assert "A = exp/sft_vanilla_chunked/decode_greedy_chunked" in printed
    assert re.search(r"^test_commonvoice_th \(marks\) +\S+ ~ .* no difference shown$", printed, re.M)
    found = rows(tmp_path / "exp" / "compare" / "comparison.tsv")
    scores = read_scores(tmp_path / "exp" / "sft_vanilla_chunked" / "decode_greedy_chunked" / "scores.tsv")
    assert {(row["set"], row["normaliser"]) for row in found} == {(score.set, score.normaliser) for score in scores}
    for score in scores:
        (row,) = (row for row in found if (row["set"], row["normaliser"]) == (score.set, score.normaliser))
        shown = [float(row[f"first_{key}"]) for key in ("value", "low", "high")]
        assert shown == pytest.approx([score.rate, score.low, score.high], abs=0.001)
        assert row["resampled_by"] == score.resampled_by
    assert "## A and B" in (tmp_path / "exp" / "compare" / "comparison.md").read_text(encoding="utf-8")


def test_p_values_are_corrected_over_the_test_sets(decodings, tmp_path):
    assert main(argv(decodings[:2], "--out", tmp_path / "out")) == 0
    found = rows(tmp_path / "out" / "comparison.tsv")
    assert [row["set"] for row in found] == list(SETS)
    names = {-1: "first", 0: "same", 1: "second"}
    for name, test in TESTS.items():
        results = [test(*(read_audit(d / s / "score_wer" / "audit.jsonl") for d in decodings[:2])) for s in SETS]
        for row, result, p_holm in zip(found, results, holm([r.p_value for r in results]), strict=True):
            assert float(row[f"{name}_statistic"]) == pytest.approx(result.statistic, rel=1e-4)
            assert float(row[f"{name}_p"]) == pytest.approx(result.p_value, rel=1e-4)
            assert float(row[f"{name}_p_holm"]) == pytest.approx(p_holm, rel=1e-4)
            assert row[f"{name}_sc_stats"] == names[result.sc_stats_verdict]


def test_every_pair_is_compared_and_the_worse_system_named(decodings, tmp_path, capsys):
    assert main(argv(decodings, "--out", tmp_path / "out")) == 0
    found = rows(tmp_path / "out" / "comparison.tsv")
    pairs = [(row["first"], row["second"]) for row in found]
    one, other, worst = map(str, decodings)
    assert pairs == [(one, other)] * 2 + [(one, worst)] * 2 + [(other, worst)] * 2
    for row in found[2:4]:
        assert row["verdict"] == "first"
        assert float(row["diff_low"]) > 0
        assert (row["resampled_by"], row["num_resampled"]) == ("speaker", "12")
        assert float(row["diff_value"]) == pytest.approx(
            float(row["second_value"]) - float(row["first_value"]), abs=0.002
        )
    printed = capsys.readouterr().out
    assert re.search(r"^test_mls_de +<0.001 A .* A is better$", printed, re.M)
    assert len(re.findall("^test set +mapsswe", printed, re.M)) == 3


def test_the_order_of_systems_reverses_the_verdict(decodings, tmp_path):
    worst_first = [decodings[2], decodings[0]]
    assert main(argv(worst_first, "--out", tmp_path / "out")) == 0
    found = rows(tmp_path / "out" / "comparison.tsv")
    assert {row["verdict"] for row in found} == {"second"}
    assert all(float(row["diff_high"]) < 0 for row in found)


def test_few_segments_are_mentioned(tmp_path, capsys):
    systems = draw_systems(3, 8, 2, 6)
    both = [write_decoding(tmp_path / name, [systems[name]]) for name in ("sys0", "sys5")]
    assert main(argv(both)) == 0
    assert re.search(r"A is better \(only \d+ segments: an approximation\)$", capsys.readouterr().out, re.M)


def test_without_out_no_files_are_written(decodings, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert main(argv(decodings)) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_test_sets_scored_for_only_some_systems_are_omitted_and_logged(decodings, capsys):
    shutil.rmtree(decodings[1] / "test_mls_fr")
    assert main(argv(decodings)) == 0
    captured = capsys.readouterr()
    assert "left out, since not every decoding has scores for it: test_mls_fr/score_wer" in captured.err
    assert "test_mls_fr" not in captured.out


def test_decodings_without_a_common_test_set_are_an_error(decodings, capsys):
    shutil.rmtree(decodings[0] / "test_mls_fr")
    shutil.rmtree(decodings[1] / "test_mls_de")
    assert main(argv(decodings[:2])) == 1
    assert "no test set is scored for all of them, only test_mls_de/score_wer, test_mls_fr/score_wer" in last_line(
        capsys
    )


def test_a_decoding_without_scores_is_an_error(decodings, tmp_path, capsys):
    assert main(argv([decodings[0], tmp_path / "none"])) == 1
    assert "none/*/score_*/audit.jsonl: nothing is scored; run stage 8 first" in last_line(capsys)


def test_one_decoding_or_a_repeated_one_is_an_error(decodings, capsys):
    assert main(argv(decodings[:1])) == 1
    assert "--decode_dir: got 1 decodings, wanted 2 to 26" in last_line(capsys)
    assert main(argv([decodings[0], f"{decodings[1]}/../sys0"])) == 1
    assert "wanted each decoding once" in last_line(capsys)


def test_different_normalisers_are_an_error(decodings, tmp_path, capsys):
    drawn = [draw_systems(seed, 8, 12, 12)["sys1"] for seed in (1, 2)]
    other = write_decoding(tmp_path / "other", drawn, normaliser="whisper_en")
    assert main(argv([decodings[0], other], "--out", tmp_path / "out")) == 1
    assert re.search(
        r"compare: error: \S+other/test_mls_de/score_wer/score.json: got de wer whisper_en, but de wer whisper in .*; "
        "rerun stage 8 for both with one language table",
        last_line(capsys),
    )
    assert not (tmp_path / "out").exists()


def test_different_ids_or_references_are_an_error(decodings, tmp_path, capsys):
    audit = decodings[1] / "test_mls_fr" / "score_wer" / "audit.jsonl"
    lines = audit.read_text(encoding="utf-8").splitlines(keepends=True)
    audit.write_text("".join(lines[:-1]), encoding="utf-8")
    assert main(argv(decodings[:2], "--out", tmp_path / "out")) == 1
    assert "1 ids differ from" in last_line(capsys)
    record = json.loads(lines[-1])
    record["reference"] = ["other"] * len(record["reference"])
    audit.write_text("".join([*lines[:-1], json.dumps(record) + "\n"]), encoding="utf-8")
    assert main(argv(decodings[:2], "--out", tmp_path / "out")) == 1
    assert f"audit.jsonl:{len(lines)}: id {record['id']!r} has reference 'other" in last_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"unit": "wer"}'])
def test_a_damaged_score_names_its_file(decodings, capsys, text):
    (decodings[1] / "test_mls_de" / "score_wer" / "score.json").write_text(text, encoding="utf-8")
    assert main(argv(decodings)) == 1
    assert re.search(r"score\.json: not a score of stage 8 \(.*\); rerun stage 8", last_line(capsys))


def test_help_shows_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert re.findall(r"^  (--\w+)", capsys.readouterr().out, re.M) == ["--decode_dir", "--out"]
