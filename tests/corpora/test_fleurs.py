"""The reader of FLEURS: its table, its directories of languages, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpora.example import write_text
from zipperasr.corpora.fleurs import read

ROW = ("1", "14.wav", "Ein Satz.", "ein satz", "e i n", "48000", "MALE")


def write_fleurs(root: Path, directory: str = "de_de", row: tuple[str, ...] = ROW) -> Path:
    return write_text(root / directory / "train.tsv", "\t".join(ROW), "\t".join(row)).parent


@pytest.mark.parametrize("folder", ["", "data"])
def test_raw_transcriptions_and_durations(tmp_path: Path, folder: str):
    root = write_fleurs(tmp_path / folder)

    first, _ = read(tmp_path, "de", "train")

    assert (first.id, first.speaker, first.text, first.duration_s) == ("14", "14", "Ein Satz.", 3.0)
    assert first.audio == f"{root}/audio/train/14.wav"


@pytest.mark.parametrize(("language", "directory"), [("zh", "cmn_hans_cn"), ("no", "nb_no"), ("pt", "pt_br")])
def test_directories_of_languages(tmp_path: Path, language: str, directory: str):
    write_fleurs(tmp_path, directory)

    assert len(list(read(tmp_path, language, "train"))) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW[:6], r"train.tsv:2: got 6 cells, wanted 7; download data/LANGUAGE"),
        ((*ROW[:5], "x", "MALE"), r"train.tsv:2: got 'x', wanted a number of samples"),
        (("1", "a b.wav", *ROW[2:]), r"train.tsv:2: id 'a b.wav' is empty or contains whitespace"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: tuple[str, ...], message: str):
    write_fleurs(tmp_path, row=row)

    with pytest.raises(ValueError, match=message):
        list(read(tmp_path, "de", "train"))


def test_two_directories_of_a_language_are_both_named(tmp_path: Path):
    """Whichever were taken, the other one would be left out without a word; files beside them do not matter."""
    write_fleurs(tmp_path)
    write_text(tmp_path / "de_de.tar", "x")
    assert len(list(read(tmp_path, "de", "train"))) == 2
    write_fleurs(tmp_path, "de_at")

    with pytest.raises(ValueError, match=r"de_at and de_de are all 'de'; move all but one out of this directory"):
        list(read(tmp_path, "de", "train"))


def test_a_missing_language_is_named(tmp_path: Path):
    write_fleurs(tmp_path)

    with pytest.raises(ValueError, match=r"contains no directory fr_\*; download data/LANGUAGE"):
        list(read(tmp_path, "fr", "train"))
