"""Editing a data directory gives a valid data directory that lacks only what was to be removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zipperasr.datadir.edit import main
from zipperasr.datadir.entry import Entry, read_table
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.datadir.write import write_data_dir

SIZES = {"s1": 4, "s2": 2, "s3": 6, "s4": 1, "s5": 3}


def entries(prefix: str = "", segments: bool = False) -> list[Entry]:
    """16 utterances of five speakers; a speaker's n-th utterance lasts n seconds."""
    found = []
    for speaker, count in SIZES.items():
        for n in range(1, count + 1):
            utt, name = f"{prefix}{speaker}-{n}", f"{prefix}{speaker}"
            times = (float(n), 2.0 * n) if segments else (None, None)
            audio = f"{name}.flac" if segments else f"{utt}.flac"
            found.append(Entry(utt, name, audio, f"text {n}", "de", float(n), 1, *times))
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "all", entries())
    return tmp_path / "all"


def utts(directory: Path) -> list[str]:
    validate_data_dir(directory)
    return [entry.utt for entry in read_data_dir(directory)]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ([], ["s1-1", "s2-1", "s3-3", "s4-1"]),
        (["--first"], ["s1-1", "s1-2", "s1-3", "s1-4"]),
        (["--last"], ["s4-1", "s5-1", "s5-2", "s5-3"]),
        (["--shortest"], ["s1-1", "s2-1", "s3-1", "s4-1"]),
    ],
)
def test_a_subset_of_four(source: Path, tmp_path: Path, how, wanted):
    assert main(["subset", *how, str(source), "4", str(tmp_path / "four")]) == 0
    assert utts(tmp_path / "four") == wanted
    assert read_table(tmp_path / "four" / "wav.scp").keys() == set(wanted)


def test_a_subset_of_whole_speakers_and_of_each_speaker(source: Path, tmp_path: Path):
    assert main(["subset", "--speakers", str(source), "5", str(tmp_path / "speakers")]) == 0
    taken = [entry.speaker for entry in read_data_dir(tmp_path / "speakers")]
    assert len(taken) >= 5 and all(taken.count(speaker) == SIZES[speaker] for speaker in taken)
    assert main(["subset", "--per-spk", str(source), "2", str(tmp_path / "each")]) == 0
    assert utts(tmp_path / "each") == ["s1-1", "s1-3", "s2-1", "s2-2", "s3-1", "s3-4", "s4-1", "s5-1", "s5-2"]


def test_a_subset_by_lists(source: Path, tmp_path: Path, capsys):
    (tmp_path / "utts").write_text("s3-2\ns1-1\nnobody\n")
    assert main(["subset", "--utt-list", str(tmp_path / "utts"), str(source), str(tmp_path / "listed")]) == 0
    assert utts(tmp_path / "listed") == ["s1-1", "s3-2"]
    assert "1 of 3 wanted utterances are not in it (first: 'nobody')" in capsys.readouterr().err
    (tmp_path / "speakers").write_text("s2\ns4\n")
    assert main(["subset", "--spk-list", str(tmp_path / "speakers"), str(source), str(tmp_path / "by_speaker")]) == 0
    assert utts(tmp_path / "by_speaker") == ["s2-1", "s2-2", "s4-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["17", "x"], "got a subset size of 17, wanted at most 16"),
        (["x"], "got 'x', wanted COUNT TARGET"),
        (["0", "x"], "no utterances would be left"),
    ],
)
def test_an_impossible_subset_is_an_error(source: Path, tmp_path: Path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["subset", str(source), *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("num_parts", [1, 2, 3, 5])
@pytest.mark.parametrize("per_utt", [False, True])
def test_parts_contain_everything_once_and_have_about_equal_size(source: Path, num_parts: int, per_utt: bool):
    assert main(["split", *(["--per-utt"] if per_utt else []), str(source), str(num_parts)]) == 0
    folder = source / f"split{num_parts}{'utt' if per_utt else ''}"
    parts = [utts(folder / str(number)) for number in range(1, num_parts + 1)]
    assert [utt for part in parts for utt in part] == utts(source)
    if per_utt:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    else:
        speakers = [{utt.split("-")[0] for utt in part} for part in parts]
        assert sum(map(len, speakers)) == len(SIZES)
        assert max(map(len, parts)) <= 16 / num_parts + max(SIZES.values())


@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ("combine_data", "[-h] TARGET SOURCE [SOURCE ...]"),
        ("fix_data_dir", "[-h] DIR"),
        ("split_data", "[-h] [--per_utt] DIR N"),
        ("subset_data_dir", "[--first | --last | --shortest | --speakers | --per_spk] SOURCE COUNT TARGET"),
        ("validate_data_dir", "[-h] [--no_wav] [--no_text] [--no_feats] [--no_spk_sort] [--non_print] DIR [DIR ...]"),
    ],
)
def test_help_shows_the_script_s_name_and_describes_each_argument(root: Path, script: str, usage: str):
    environment = {**os.environ, "PYTHON": sys.executable, "COLUMNS": "200"}
    done = subprocess.run([root / "utils" / script, "--help"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"usage: utils/{script} {usage}"
    assert [line for line in lines if line.startswith("  ") and len(line.split()) == 1] == []


def test_more_parts_than_speakers_is_an_error(source: Path, capsys):
    assert main(["split", str(source), "6"]) == 1
    assert "got 5 speakers (--per_utt splits them), wanted at least 6" in capsys.readouterr().err
    assert main(["split", "--per-utt", str(source), "16"]) == 0
    assert main(["split", str(source), "0"]) == 1
    assert "got 0 parts, wanted at least 1" in capsys.readouterr().err


def test_combined_directories_have_segments_if_one_of_them_has(source: Path, tmp_path: Path, capsys):
    write_data_dir(tmp_path / "cut", entries("z", segments=True))
    (source / "utt2num_samples").write_text("".join(f"{utt} 16000\n" for utt in utts(source)))
    assert main(["combine", str(tmp_path / "both"), str(source), str(tmp_path / "cut")]) == 0
    assert "not in all directories, left out: utt2num_samples" in capsys.readouterr().err
    found = {entry.utt: entry for entry in read_data_dir(tmp_path / "both")}
    assert found.keys() == {entry.utt for entry in (*entries(), *entries("z"))}
    assert (found["s3-4"].start_s, found["s3-4"].end_s) == (0.0, 4.0)
    assert (found["zs3-4"].start_s, found["zs3-4"].end_s) == (4.0, 8.0)


def test_segments_that_cannot_be_created_name_the_directory(source: Path, tmp_path: Path, capsys):
    write_data_dir(tmp_path / "cut", entries("z", segments=True))
    (source / "utt2dur").unlink()
    assert main(["combine", str(tmp_path / "both"), str(source), str(tmp_path / "cut")]) == 1
    assert f"{source}: no segments, which another directory has, and no utt2dur" in capsys.readouterr().err


def test_an_utterance_in_two_directories_is_an_error(source: Path, tmp_path: Path, capsys):
    assert main(["combine", str(tmp_path / "both"), str(source), str(source)]) == 1
    assert "utt2spk: id 's1-1' is also in an earlier directory" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def as_it_is(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("existed", [False, True])
def test_an_invalid_combination_leaves_the_target_unchanged(source: Path, tmp_path: Path, capsys, existed: bool):
    """Each is valid; together, utterance `s1-1-x` of speaker `s0` is sorted among those of s1."""
    write_data_dir(tmp_path / "odd", [Entry("s1-1-x", "s0", "x.flac", "text", "de", 1.0)])
    target = tmp_path / "both"
    if existed:
        write_data_dir(target, entries("old"))
        (target / "notes").write_text("mine")
        before = as_it_is(target)

    assert main(["combine", str(target), str(source), str(tmp_path / "odd")]) == 1

    error = capsys.readouterr().err
    assert (
        f"{target}/utt2spk:2: id 's1-1-x': speaker 's0' comes after 's1'" in error and "; nothing is written" in error
    )
    assert as_it_is(target) == before if existed else not target.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"all", "odd", *(["both"] if existed else [])}


def test_combining_into_a_directory_replaces_its_tables_and_keeps_other_files(source: Path, tmp_path: Path):
    target = tmp_path / "both"
    write_data_dir(target, entries("old", segments=True))
    (target / "split2/1").mkdir(parents=True)
    for name in ("notes", "split2/1/text"):
        (target / name).write_text("mine")

    assert main(["combine", str(target), str(source)]) == 0

    assert utts(target) == utts(source) and not (target / "segments").exists()
    assert {name for name, content in as_it_is(target).items() if content == b"mine"} == {"notes", "split2/1/text"}


def test_the_target_may_be_a_link(source: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "both").symlink_to("elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["combine", str(tmp_path / "both"), str(source)]) == 0
    assert (tmp_path / "both").is_symlink() and utts(tmp_path / "elsewhere") == utts(source)
    assert main(["fix", "."]) == 0 and utts(tmp_path / "elsewhere") == utts(source)


def test_directories_with_tabs_and_empty_transcripts_can_be_edited(source: Path, tmp_path: Path):
    (source / "text").write_text("".join(f" {utt}\t\n" for utt in utts(source)))
    assert main(["subset", "--first", str(source), "2", str(tmp_path / "two")]) == 0
    assert (tmp_path / "two" / "text").read_text() == "s1-1\ns1-2\n"
    assert [entry.text for entry in read_data_dir(tmp_path / "two")] == ["", ""]


def test_fix_removes_utterances_that_last_0_s(source: Path):
    lines = (source / "utt2dur").read_text().replace("s1-2 2.000", "s1-2 0.000").replace("s4-1 1.000", "s4-1 nan")
    (source / "utt2dur").write_text(lines)
    assert main(["fix", str(source)]) == 0
    assert utts(source) == [entry.utt for entry in entries() if entry.utt not in ("s1-2", "s4-1")]


def test_fix_keeps_complete_utterances_and_a_copy_of_the_old_tables(source: Path, capsys):
    text = source / "text"
    lines = text.read_text().splitlines()
    broken = "\n".join([*reversed(lines[3:]), "s1-1", lines[2], lines[2], "nobody lost"]) + "\n"
    text.write_text(broken)  # s1-1 without text, no line for s1-2, unsorted, a duplicate and an extra id
    (source / "wav.scp").write_text(
        "".join(f"{utt} {utt}.flac\n" for utt in read_table(source / "utt2spk") if utt != "s5-3")
    )
    with pytest.raises(ValueError):
        validate_data_dir(source)
    assert main(["fix", str(source)]) == 0
    assert "kept 13 of 16 utterances" in capsys.readouterr().err
    assert utts(source) == [entry.utt for entry in entries() if entry.utt not in ("s1-1", "s1-2", "s5-3")]
    assert (source / ".backup" / "text").read_text() == broken


@pytest.mark.parametrize("name", ["fix_data_dir", "combine_data", "subset_data_dir", "split_data", "validate_data_dir"])
def test_the_commands_are_named_as_in_kaldi(root: Path, name: str):
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(root)}
    done = subprocess.run([root / "utils" / name, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "usage:" in done.stdout
