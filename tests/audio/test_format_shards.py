"""Stage 2 in shards gives the files of one process, and runs only the shards that are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.audio.test_format_audio import audio_of, base, prepared
from tests.corpora.example import write_noise
from tests.prepare.example import TEST_IDS, TRAIN_IDS
from tests.stages.sharded import content, run_and_kill_one, run_in_shards
from zipperasr.stages.format_audio import main

__all__ = ["base", "prepared"]


def options(base: Path) -> list[str]:
    """Options of stage 2 for a corpus with one broken file."""
    audio_of(base, TRAIN_IDS[0], "train").write_bytes(b"")
    return [f"--data={base / 'data'}", f"--out={base / 'dump'}", "--nj=1"]


@pytest.fixture
def argv(base: Path, monkeypatch) -> list[str]:
    """The same, with two chunks of six utterances in the training set."""
    monkeypatch.setattr("zipperasr.audio.chunks.MIN_CHUNK_UTTS", 2)
    return options(base)


def missing(argv: list[str], count: int, capsys) -> str:
    capsys.readouterr()
    assert main([*argv, "--shard", f"missing/{count}"]) == 0
    return capsys.readouterr().out.strip()


def test_any_number_of_shards_gives_the_files_of_one_process(argv, base):
    assert main(argv) == 0
    whole = content(base / "dump")
    assert len([name for name in whole if name.endswith(".ark")]) == 5
    for count in (2, 4):
        shutil.rmtree(base / "dump")
        run_in_shards(main, argv, count)
        assert content(base / "dump") == whole
        assert not (base / "dump.shards").exists()


def test_chunks_and_tables_do_not_depend_on_the_number_of_processes(argv, base):
    assert main([*argv[:-1], "--nj=2"]) == 0
    whole = content(base / "dump")
    shutil.rmtree(base / "dump")
    assert main(argv) == 0
    assert content(base / "dump") == whole


def test_a_finished_shard_is_not_converted_again_and_a_merge_needs_all(argv, base, capsys):
    assert missing(argv, 3, capsys) == "1:3"
    for number in (1, 3):
        assert main([*argv, "--shard", f"{number}/3"]) == 0
    assert missing(argv, 3, capsys) == "2:2"
    assert main([*argv, "--shard", "merge/3"]) == 1
    assert "dump.shards: of 3 shards, 2 missing" in capsys.readouterr().err
    written = {path: path.stat().st_mtime_ns for path in (base / "dump").glob("*/data/*")}
    assert written
    run_in_shards(main, argv, 3)
    assert "dump.shards/1 is up to date" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert missing(argv, 3, capsys) == ""


def test_another_number_of_shards_keeps_the_finished_chunks(argv, base, capsys):
    assert main([*argv, "--shard", "1/2"]) == 0
    written = {path: path.stat().st_mtime_ns for path in (base / "dump").glob("*/data/*")}
    assert missing(argv, 4, capsys) == "1:4"
    run_in_shards(main, argv, 4)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_changed_inputs_invalidate_the_shards(argv, base, capsys):
    assert main([*argv, "--shard", "1/2"]) == 0
    with (base / "data" / "test_mls_de" / "text").open("a") as stream:
        stream.write(" ")
    assert missing(argv, 2, capsys) == "1:2"


def test_too_many_broken_files_fail_in_the_merge(argv, base, capsys):
    for utt_id in TRAIN_IDS[:3]:
        audio_of(base, utt_id, "train").write_bytes(b"")
    for task in ("1/2", "2/2"):
        assert main([*argv, "--shard", task]) == 0
    assert main([*argv, "--shard", "merge/2"]) == 1
    assert "3 of 12 utterances of train_mls_de cannot be used" in capsys.readouterr().err
    assert not (base / "dump" / "sets.tsv").exists()


def test_a_killed_shard_alone_runs_again(base, root):
    argv, jobs = options(base), base / "jobs"
    jobs.mkdir()
    write_noise(audio_of(base, TEST_IDS[0], "test"), 200.0)  # keeps shard 2 busy
    started = run_and_kill_one(root, jobs, "zipperasr.stages.format_audio", argv, f"{base}/dump.shards/.2.lock")
    assert sorted(started) == ["1", "2", "2"] and started[-1] == "2"
    found = content(base / "dump")
    shutil.rmtree(base / "dump")
    assert main(argv) == 0
    assert content(base / "dump") == found
