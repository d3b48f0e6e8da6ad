"""Stage 8 in shards gives the files of one process, and runs only the shards that are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.stages.sharded import content, run_and_kill_one, run_in_shards
from zipperasr.datadir.entry import write_lines
from zipperasr.stages.score import main


def missing(argv: list[str], count: int, capsys) -> str:
    capsys.readouterr()
    assert main([*argv, "--shard", f"missing/{count}"]) == 0
    return capsys.readouterr().out.strip()


def remove_scores(decode_dir: Path) -> None:
    for path in [*decode_dir.glob("*/score_*"), decode_dir / "scores.tsv"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("count", [2, 4, 30])
def test_any_number_of_shards_gives_the_files_of_one_process(score_argv, decoded, count):
    decode_dir, _ = decoded
    assert main(score_argv) == 0
    whole = content(decode_dir)
    assert len([name for name in whole if name.endswith("/result.txt")]) >= 15
    remove_scores(decode_dir)
    run_in_shards(main, score_argv, count)
    assert content(decode_dir) == whole


def test_finished_test_sets_are_not_scored_again_and_a_merge_needs_all(score_argv, decoded, capsys):
    decode_dir, _ = decoded
    assert missing(score_argv, 3, capsys) == "1:3"
    for number in (1, 3):
        assert main([*score_argv, "--shard", f"{number}/3"]) == 0
    assert missing(score_argv, 3, capsys) == "2:2"
    assert main([*score_argv, "--shard", "merge/3"]) == 1
    assert "scores: of 3 shards, 2 missing; run the stage again" in capsys.readouterr().err
    assert not (decode_dir / "scores.tsv").exists()
    before = {path: path.stat().st_mtime_ns for path in decode_dir.glob("*/score_*/*")}
    assert before
    run_in_shards(main, score_argv, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert missing(score_argv, 3, capsys) == ""


def test_changed_hypotheses_are_scored_again_by_their_shard_alone(score_argv, decoded, capsys):
    decode_dir, _ = decoded
    run_in_shards(main, score_argv, 4)
    text = decode_dir / "test_mls_de" / "text"
    write_lines(text, [f"{line.split()[0]} anders" for line in text.read_text().splitlines()])
    (listed,) = missing(score_argv, 4, capsys).split()
    number = listed.partition(":")[0]
    assert listed == f"{number}:{number}"
    assert main([*score_argv, "--shard", f"{number}/4"]) == 0
    assert missing(score_argv, 4, capsys) == ""


def test_shards_are_balanced_by_seconds_of_speech(score_argv, decoded, capsys):
    """One long test set, alone in a shard, and the others in the second."""
    _, raw = decoded
    utt2dur = raw / "test_librispeech_en" / "utt2dur"
    write_lines(utt2dur, [f"{line.split()[0]} 500.0" for line in utt2dur.read_text().splitlines()])
    assert main([*score_argv, "--shard", "1/2"]) == 0
    assert "shard 1 of 2: 1 test sets scored" in capsys.readouterr().err
    (raw / "test_mls_de" / "utt2dur").unlink()
    assert main([*score_argv, "--shard", "2/2"]) == 0


def test_a_killed_shard_alone_runs_again(score_argv, decoded, root, tmp_path):
    decode_dir, _ = decoded
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    started = run_and_kill_one(root, jobs, "zipperasr.stages.score", score_argv, str(jobs / "started"))
    assert sorted(started) == ["1", "2", "2"] and started[-1] == "2"
    found = content(decode_dir)
    remove_scores(decode_dir)
    assert main(score_argv) == 0
    assert content(decode_dir) == found
