import subprocess
from pathlib import Path

import pytest
from corpora.example import write_text

from zipperasr.data.datadir import Entry
from zipperasr.data.validate import main, validate_data_dir
from zipperasr.data.write_tables import write_data_dir

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
        ("text", ["s1-a x", "s1-b x", "s2-b x"], r"text: id 's1-b' is not in utt2spk"),
        ("text", ["s1-a", "s2-b x"], r"text:1: got 's1-a', wanted `key value`"),
        ("text", ["s1-a x  y", "s2-b x"], r"text:1: got .* single blanks"),
        ("text", ["s1-a x\u3000y", "s2-b x"], r"text:1: id 's1-a': a blank other than a space"),
        ("text", ["s2-b x", "s1-a x"], r"text:2: id 's1-a' comes after 's2-b', not in C order; sort with LC_ALL=C"),
        ("text", ["s1-a x", "s1-a y", "s2-b x"], r"text:2: id 's1-a' comes twice"),
        ("utt2spk", ["s1-a s2", "s2-b s1"], r"utt2spk: id 's2-b': speaker 's1' comes after 's2'"),
        ("utt2spk", ["s1-a s1 x", "s2-b s2"], r"utt2spk:1: id 's1-a': got 2 values, wanted 1"),
        ("utt2spk", [], r"utt2spk: the file is empty"),
        ("spk2utt", ["s1 s1-a s2-b"], r"spk2utt: is not the inverse of utt2spk"),
        ("utt2dur", ["s1-a 1.0", "s2-b long"], r"utt2dur: id 's2-b': got 'long', wanted a number that counts"),
        ("utt2repeat", ["s1-a 0", "s2-b 1"], r"utt2repeat: id 's1-a': got '0'"),
        ("wav.scp", ["s1-a x/a.flac"], r"wav.scp: id 's2-b' of utt2spk is not in it"),
        ("segments", ["s1-a r 0 1", "s2-b r 0 1"], r"segments: id 's1-a': recording 'r' is not in wav.scp"),
        ("segments", ["s1-a s1-a 2 1", "s2-b s2-b 0 1"], r"segments: id 's1-a': got start 2, end 1"),
    ],
)
def test_flaws_are_named(data: Path, name: str, lines: list[str], message: str):
    write_text(data / name, *lines)

    with pytest.raises(ValueError, match=message):
        validate_data_dir(data)


def test_missing_tables_and_directories_are_named(data: Path):
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


def test_shell_command_is_the_python_step(root: Path):
    done = subprocess.run([root / "utils/validate_data_dir", "--help"], capture_output=True, text=True, cwd=root)

    assert done.returncode == 0 and "Check a Kaldi data directory" in done.stdout
