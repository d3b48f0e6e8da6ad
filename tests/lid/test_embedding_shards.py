"""Stage 4 in shards gives the files of one process, and runs only the shards that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.sharded import content, run_and_kill_one, run_in_shards
from tests.train.tiny_recipe import options
from zipperasr.stages.language_embeddings import main


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "lid"


@pytest.fixture
def argv(noise_recipe, out) -> list[str]:
    return options(noise_recipe, manifest="dump/manifest", out=str(out))


@pytest.fixture
def whole(noise_recipe, out) -> dict[str, object]:
    """The files of one process; their scp files name the directory that they are in."""
    found = content(noise_recipe / "exp" / "lid")
    here, there = (str(path).encode() for path in (noise_recipe / "exp" / "lid", out))
    moved = {name: data.replace(here, there) if name.endswith(".scp") else data for name, data in found.items()}
    return {name: data for name, data in moved.items() if name != ".outputs.json"}  # has the sizes of the scp files


def found(out: Path) -> dict[str, object]:
    return {name: data for name, data in content(out).items() if name != ".outputs.json"}


def missing(argv: list[str], count: int, capsys) -> str:
    capsys.readouterr()
    assert main([*argv, "--shard", f"missing/{count}"]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_shards_gives_the_files_of_one_process(argv, out, whole, count):
    run_in_shards(main, argv, count)
    assert len(whole) == 7
    assert found(out) == whole
    assert list(out.parent.iterdir()) == [out]


def test_finished_shards_are_kept_and_a_merge_needs_all(argv, out, whole, capsys):
    assert missing(argv, 2, capsys) == "1:2"
    assert missing(argv, 4, capsys) == "1:3"  # three languages
    assert main([*argv, "--shard", "1/2"]) == 0
    assert missing(argv, 2, capsys) == "2:2"
    assert missing(argv, 3, capsys) == "1:3"
    assert missing([*argv, "--seed", "2"], 2, capsys) == "1:2"
    assert main([*argv, "--shard", "merge/2"]) == 1
    assert "lid.shards: of 2 shards, 2 missing" in capsys.readouterr().err
    run_in_shards(main, argv, 2)
    assert "nothing to compute in shard 1 of 2" in capsys.readouterr().err
    assert found(out) == whole
    assert missing(argv, 2, capsys) == ""


def test_token_embeddings_need_no_shards(argv, out, capsys):
    argv += ["--modes", "token"]
    assert missing(argv, 2, capsys) == ""
    assert main([*argv, "--shard", "merge/2"]) == 0
    assert (out / "lid_token.scp").is_file()


def test_a_killed_shard_alone_runs_again(argv, out, whole, root, tmp_path):
    (tmp_path / "jobs").mkdir()
    module = "zipperasr.stages.language_embeddings"
    started = run_and_kill_one(root, tmp_path / "jobs", module, argv, f"{out}.shards/.2.lock")
    assert sorted(started) == ["1", "2", "2"] and started[-1] == "2"
    assert found(out) == whole
