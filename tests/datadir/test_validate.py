import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.corpora.example import write_text
from tests.datadir.kaldi_verdicts import CASES, DIFFERENCES, GOOD, WITH_FEATS
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.memory_tables import DataDir
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.validate import main, validate_data_dir
from zipperasr.datadir.write import write_data_dir

ENTRY = Entry("s1-a", "s1", "x/a.flac", "guten tag", "de", 1.25)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "set", [ENTRY, ENTRY._replace(utt="s2-b", speaker="s2")])
    return tmp_path / "set"


def test_good_directory_passes(data: Path):
    assert validate_data_dir(data) == 2


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("text", ["s1-a x"], r"text: id 's2-b' of utt2spk is not in it"),
        ("text", ["s1-a x", "s1-b x", "s2-b x"], r"text:2: id 's1-b' is not in utt2spk"),
        ("text", ["s1-a x", "s2-b x", "s3-c y"], r"text:3: id 's3-c' is not in utt2spk"),
        ("text", ["s1-a x", "", "s2-b x"], r"text:2: the line is blank, wanted `key value`; remove it"),
        ("text", ["s1-a x \x7f", "s2-b x"], r"text:1: id 's1-a': a character that cannot be printed in the line"),
        ("text", ["s1-a é", "s2-b x\x07é"], r"text:2: id 's2-b': a character that cannot be printed in the line"),
        ("text", ["s1-a x", "s2-b x <s>"], r"text:2: id 's2-b': '<s>' as a word, which Kaldi reserves; remove it"),
        ("text", ["\ufeffs1-a x", "s2-b x"], r"text:1: the file begins with a byte order mark"),
        ("text", ["s1-a x\u3000y", "s2-b x"], r"text:1: id 's1-a': a blank other than a space"),
        ("text", ["s2-b x", "s1-a x"], r"text:2: id 's1-a' comes after 's2-b', not in C order; sort with LC_ALL=C"),
        ("text", ["s1-a x", "s1-a y", "s2-b x"], r"text:2: id 's1-a' is repeated"),
        ("utt2spk", ["s1-a s2", "s2-b s1"], r"utt2spk:2: id 's2-b': speaker 's1' comes after 's2'"),
        ("utt2spk", ["s1-a s1 x", "s2-b s2"], r"utt2spk:1: id 's1-a': got 2 values, wanted 1"),
        ("utt2spk", ["s1-a s1", "s2-b  s2"], r"utt2spk:2: id 's2-b': the whitespace before speaker 's2' differs from"),
        ("utt2spk", [], r"utt2spk: the file is empty"),
        ("spk2utt", ["s1 s1-a s2-b"], r"spk2utt: is not the inverse of utt2spk: line 1 \(id 's1'\)"),
        ("spk2utt", ["s1 s1-a", "s2 s2-b s2-c"], r"spk2utt: is not the inverse of utt2spk: line 2 \(id 's2'\)"),
        ("spk2utt", ["s1 s1-a"], r"spk2utt: is not the inverse of utt2spk: it lacks id 's2-b'"),
        ("utt2dur", ["s1-a 1.0", "s2-b long"], r"utt2dur:2: id 's2-b': got 'long', wanted a finite number"),
        ("utt2repeat", ["s1-a 0", "s2-b 1"], r"utt2repeat:1: id 's1-a': got '0'"),
        ("utt2dur", ["s1-a 0", "s2-b 1"], r"utt2dur:1: id 's1-a': got '0', .* utils/fix_data_dir removes such"),
        ("spk2gender", ["s1 m", "s2 x"], r"spk2gender:2: id 's2': got 'x', wanted m or f"),
        ("wav.scp", ["s1-a ~/a.flac", "s2-b x"], r"wav.scp:1: id 's1-a': got '~/a.flac', wanted a path without"),
        ("wav.scp", ["s1-a x/a.flac"], r"wav.scp: id 's2-b' of utt2spk is not in it"),
        ("segments", ["s1-a r 0 1", "s2-b r 0 1"], r"segments:1: id 's1-a': recording 'r' is not in wav.scp"),
        ("segments", ["s1-a s1-a 2 1", "s2-b s2-b 0 1"], r"segments:1: id 's1-a': got start 2, end 1"),
    ],
)
def test_flaws_are_reported(data: Path, name: str, lines: list[str], message: str):
    write_text(data / name, *lines)

    with pytest.raises(ValueError, match=message):
        validate_data_dir(data)


def test_a_last_line_without_newline_is_reported(data: Path):
    (data / "utt2lang").write_text("s1-a de\ns2-b de")

    with pytest.raises(ValueError, match=r"utt2lang:2: id 's2-b': no newline ends the last line"):
        validate_data_dir(data)


def test_a_recording_that_no_segment_uses_is_reported(data: Path):
    write_text(data / "segments", "s1-a s1-a 0 1", "s2-b s1-a 1 2")

    with pytest.raises(ValueError, match=r"wav.scp: id 's2-b': not used in segments"):
        validate_data_dir(data)


def test_flaws_deep_in_large_tables_are_found(tmp_path: Path):
    entries = [ENTRY._replace(utt=f"s{n // 7:05d}-{n:06d}", speaker=f"s{n // 7:05d}") for n in range(100_000)]
    write_data_dir(tmp_path / "set", entries)
    assert validate_data_dir(tmp_path / "set") == 100_000
    path = tmp_path / "set" / "text"
    lines = path.read_text().splitlines()
    write_text(path, *lines[:90_000], *lines[90_001:])
    with pytest.raises(ValueError, match=f"text: id '{entries[90_000].utt}' of utt2spk is not in it"):
        validate_data_dir(tmp_path / "set")
    write_text(path, *lines[:10], *lines[11:90_000], lines[89_990])
    with pytest.raises(
        ValueError, match=r"text:90000: id .* not in C order"
    ):  # reported before the missing id of line 11
        validate_data_dir(tmp_path / "set")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[1])
def test_the_verdict_is_kaldis_except_for_documented_differences(tmp_path: Path, capsys, case):
    kaldi_passes, name, files, *options = case
    for file, content in {**GOOD, **files}.items():
        if content is not None:
            (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    options = [option for option in options if option != WITH_FEATS]

    passes = main([*options, str(tmp_path)]) == 0

    assert passes == (kaldi_passes if name not in DIFFERENCES else not kaldi_passes)
    assert re.search(DIFFERENCES.get(name, ""), capsys.readouterr().err)
    if passes and "--no-text" not in options:  # what it accepts can be read
        assert list(DataDir.read(tmp_path).by_speaker.values())
        wav = tmp_path / "wav.scp"
        if wav.is_file() and b"|" in wav.read_bytes():
            with pytest.raises(ValueError, match="is a command; commands in scp files are not run"):
                list(read_data_dir(tmp_path))
        elif "--no-wav" not in options and all((tmp_path / table).is_file() for table in ("utt2lang", "utt2dur")):
            assert [entry.utt for entry in read_data_dir(tmp_path)] == ["s1-a", "s2-b"]


def test_our_own_steps_accept_what_only_kaldis_programs_reject(data: Path):
    write_text(data / "text", "s1-a <s> \x07", "s2-b #0")
    write_text(data / "utt2dur", "s1-a 0.000", "s2-b 1")

    assert validate_data_dir(data, for_kaldi=False) == 2


def test_missing_tables_and_directories_are_reported(data: Path):
    (data / "text").unlink()
    with pytest.raises(ValueError, match=r"text: no such file"):
        validate_data_dir(data)
    assert validate_data_dir(data, need_text=False) == 2
    (data / "wav.scp").unlink()
    assert validate_data_dir(data, need_text=False, need_audio=False) == 2
    with pytest.raises(ValueError, match=r"nowhere: no such directory"):
        validate_data_dir(data / "nowhere")


def test_command_accepts_kaldis_options_and_exits_1_on_a_flaw(data: Path, capsys: pytest.CaptureFixture):
    assert main(["--no-feats", str(data)]) == 0
    write_text(data / "spk2utt", "x y")
    assert main(["--no-feats", "--no-text", "--no-wav", str(data)]) == 1
    assert "spk2utt: is not the inverse" in capsys.readouterr().err


def test_shell_command_runs_the_python_step(root: Path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [root / "utils/validate_data_dir", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={**os.environ, "PATH": path})

    assert done.returncode == 0 and "Rejected here but accepted by Kaldi's script" in done.stdout


def test_a_long_line_of_spk2utt_is_rejected_without_copying_its_speaker_for_every_utterance(data: Path):
    speaker, utts = "s" * 60_000, [f"u{n:05d}" for n in range(30_000)]  # 1.8 GB in copies
    write_text(data / "spk2utt", f"{speaker} {' '.join(utts)}")
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(ValueError, match="spk2utt: is not the inverse of utt2spk: line 1"):
        validate_data_dir(data)
    assert pa.default_memory_pool().max_memory() - before < 100_000_000
