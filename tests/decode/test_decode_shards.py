"""Stage 7 in shards gives the files of one process, times apart, and runs only the shards that are missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.decode.model_and_sets import SIZES, write_model_and_sets
from tests.model import tiny
from tests.stages.sharded import content, run_and_kill_one, run_in_shards
from zipperasr.batching.manifest import Manifest
from zipperasr.decode.alternatives import read_nbest
from zipperasr.decode.batch_plan import plan_batches
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.run_record import DecodingRun, load_run
from zipperasr.stages.decode import main

TIMED = ("rtf.json", "run.json")


@pytest.fixture(scope="module")
def source(backbones, tmp_path_factory) -> Path:
    return write_model_and_sets(tmp_path_factory.mktemp("source"), backbones)


@pytest.fixture
def start(source, tmp_path):
    """Copy the model to a directory of this name; returns the options of stage 7 for it."""

    def copied(name: str) -> list[str]:
        shutil.copytree(source / "align", tmp_path / name)
        paths = {"exp": tmp_path / name, "manifest": source, "config": source / "decode.yaml"}
        paths |= {"languages": tiny.TABLE_PATH}
        return [word for option, path in paths.items() for word in (f"--{option}", str(path))]

    return copied


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> dict[str, object]:
    """The files of one process."""
    exp = tmp_path_factory.mktemp("whole") / "exp"
    shutil.copytree(source / "align", exp)
    paths = {"exp": exp, "manifest": source, "config": source / "decode.yaml", "languages": tiny.TABLE_PATH}
    assert main([word for option, path in paths.items() for word in (f"--{option}", str(path))]) == 0
    return content(exp, TIMED)


@pytest.mark.parametrize("count", [2, 4, 40])
def test_any_number_of_shards_gives_the_files_of_one_process(start, whole, tmp_path, count):
    run_in_shards(main, start("exp"), count)
    assert len(whole) > 15
    assert len({line for name, text in whole.items() if name.endswith("/text") for line in text.split(b"\n")}) > 12
    assert content(tmp_path / "exp", TIMED) == whole
    assert load_run(DecodingRun, tmp_path / "exp" / "decode_greedy_chunked").search == "greedy"


def test_nbest_lists_are_those_of_one_process_in_the_order_of_the_texts(start, source, tmp_path):
    settings = ["--set", "beam=3", "nbest=3"]
    assert main([*start("whole"), *settings]) == 0
    run_in_shards(main, [*start("shards"), *settings], 2)
    found = content(tmp_path / "shards", TIMED)
    assert found == content(tmp_path / "whole", TIMED)
    for code, count in SIZES.items():
        directory = tmp_path / "whole" / "decode_beam3_chunked" / f"test_x_{code}"
        texts = dict(line.partition(" ")[::2] for line in (directory / "text").read_text(encoding="utf-8").splitlines())
        lists = read_nbest(directory / "nbest.jsonl")
        assert list(lists) == list(texts) and len(lists) == count
        assert {utt_id: best.text for utt_id, (best, *_) in lists.items()} == texts
        assert 1 < max(map(len, lists.values())) <= 3
    assert main([*start("greedy"), "--set", "beam=3"]) == 0
    assert not list((tmp_path / "greedy").rglob("nbest.jsonl"))


def test_a_damaged_nbest_list_is_decoded_again(start, tmp_path, capsys):
    argv = [*start("exp"), "--set", "beam=2", "nbest=2"]
    assert main(argv) == 0
    path = tmp_path / "exp" / "decode_beam2_chunked" / "test_x_ja" / "nbest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    capsys.readouterr()
    assert main(argv) == 0
    logged = capsys.readouterr().err
    assert "nbest.jsonl has" in logged and logged.count("is up to date") == 2
    assert path.read_bytes() == whole


def test_times_are_those_of_the_whole_and_of_each_shard(start, tmp_path):
    run_in_shards(main, start("exp"), 2)
    found = json.loads((tmp_path / "exp" / "decode_greedy_chunked" / "test_x_de" / "rtf.json").read_text())
    shards = found["shards"]
    assert len(shards) == 2 and all(shard["rtf"] > 0 for shard in shards)
    assert abs(shards[0]["audio_s"] - shards[1]["audio_s"]) < 0.3 * found["audio_s"]
    assert found["audio_s"] == pytest.approx(sum(shard["audio_s"] for shard in shards), abs=0.02)
    assert found["seconds"] == max(shard["seconds"] for shard in shards)
    assert found["compute_s"] == pytest.approx(sum(shard["seconds"] for shard in shards))
    assert found["rtf"] == pytest.approx(found["seconds"] / found["audio_s"], rel=0.01)
    assert found["compute_rtf"] == pytest.approx(found["compute_s"] / found["audio_s"], rel=0.01)


def test_one_process_is_one_shard(start, tmp_path):
    run_in_shards(main, start("exp"), 1)
    found = json.loads((tmp_path / "exp" / "decode_greedy_chunked" / "test_x_ja" / "rtf.json").read_text())
    assert found["compute_s"] == found["seconds"] and len(found["shards"]) == 1


def missing(argv: list[str], count: int, capsys) -> str:
    capsys.readouterr()
    assert main([*argv, "--shard", f"missing/{count}"]) == 0
    return capsys.readouterr().out.strip()


def test_a_finished_decoding_has_no_missing_shards(start, tmp_path, capsys):
    argv = start("exp")
    assert missing(argv, 3, capsys) == "1:3"
    assert main(argv) == 0
    assert missing(argv, 3, capsys) == ""
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*")}
    run_in_shards(main, argv, 3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*")} == before


def test_a_merge_without_all_shards_fails_and_finished_shards_are_kept(start, whole, tmp_path, capsys):
    argv = start("exp")
    for number in (1, 3):
        assert main([*argv, "--shard", f"{number}/3"]) == 0
    assert missing(argv, 3, capsys) == "2:2"
    assert main([*argv, "--shard", "merge/3"]) == 1
    assert "of 3 shards, 2 missing; run the stage again with the same number of shards" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*.shards/*/*")}
    run_in_shards(main, [*argv], 3)
    assert "nothing to decode in shard 1 of 3" in capsys.readouterr().err
    assert len(before) > 10
    assert content(tmp_path / "exp", TIMED) == whole


def test_shards_of_another_number_or_of_other_settings_are_decoded_again(start, whole, tmp_path, capsys):
    argv = start("exp")
    assert main([*argv, "--shard", "1/2"]) == 0
    assert missing(argv, 2, capsys) == "2:2"
    assert missing(argv, 4, capsys) == "1:4"
    assert missing([*argv, "--set", "batch_size=3"], 2, capsys) == "1:2"
    run_in_shards(main, argv, 4)
    assert content(tmp_path / "exp", TIMED) == whole


@pytest.mark.parametrize("count", [1, 2])
def test_shards_of_an_interrupted_run_are_removed_at_the_end(start, whole, tmp_path, count):
    argv = start("exp")
    assert main([*argv, "--shard", "5/6"]) == 0
    run_in_shards(main, argv, count)
    assert content(tmp_path / "exp", TIMED) == whole


def test_a_killed_shard_alone_runs_again(start, whole, root, tmp_path):
    argv = start("exp")
    (tmp_path / "jobs").mkdir()
    sign = f"{tmp_path}/exp/decode_greedy_chunked/test_x_de.shards/.2.lock"
    started = run_and_kill_one(root, tmp_path / "jobs", "zipperasr.stages.decode", argv, sign)
    assert sorted(started) == ["1", "2", "2"] and started[-1] == "2"
    assert content(tmp_path / "exp", TIMED) == whole


def test_a_malformed_shard_is_an_error(start, capsys):
    assert main([*start("exp"), "--shard", "3/2"]) == 1
    assert "stage 7: error: --shard '3/2': wanted K/N with K from 1 to N" in capsys.readouterr().err


def test_a_shard_that_another_process_decodes_is_an_error(start, tmp_path, capsys, held_elsewhere):
    argv = start("exp")
    message = held_elsewhere(tmp_path / "exp" / "decode_greedy_chunked" / "test_x_es.shards" / "2")
    assert main([*argv, "--shard", "2/2"]) == 1
    assert message in capsys.readouterr().err


def test_batches_have_similar_lengths_and_respect_both_limits(source):
    manifest = Manifest.open(source, "test_x_de")
    batches = plan_batches(manifest, DecodeConfig(batch_size=3, batch_positions=310))
    flat = [row for batch in batches for row in batch]
    lengths = manifest.num_samples[flat].tolist()
    assert sorted(flat) == list(range(SIZES["de"])) and lengths == sorted(lengths)
    needed = [len(batch) * (100 - 4 + manifest.num_samples[batch[-1]] // 1600) for batch in batches]
    assert max(needed) <= 310 and [len(batch) for batch in batches[:2]] == [3, 3] and len(batches[2]) == 2
