from pathlib import Path

import pytest

from tests.corpora.example import write_common_voice, write_text
from zipperasr.corpora.commonvoice import read

CLIENT = "0123456789abcdef" * 8


def test_rows_become_utterances_with_short_speakers(tmp_path: Path):
    write_common_voice(tmp_path, {"test": [(CLIENT, "common_voice_ar_1.mp3", "«نص» أول")]})

    (utterance,) = read(tmp_path, "ar", "test")

    assert (utterance.id, utterance.speaker, utterance.text) == ("common_voice_ar_1", CLIENT[:16], "«نص» أول")
    assert utterance.audio == str(tmp_path / "ar/clips/common_voice_ar_1.mp3")
    assert utterance.duration_s is None


def test_release_directory_and_clip_durations_are_found(tmp_path: Path):
    release = tmp_path / "cv-corpus-18.0-2024-06-14"
    write_common_voice(release, {"train": [(CLIENT, "a.mp3", "one")]})
    write_text(release / "ar/clip_durations.tsv", "clip\tduration[ms]", "a.mp3\t4320")

    assert next(read(tmp_path, "ar", "train")).duration_s == pytest.approx(4.32)


def test_columns_are_found_by_name_in_any_order(tmp_path: Path):
    write_text(tmp_path / "ar/dev.tsv", "sentence\tpath\tage\tclient_id", f"words\tb\t\t{CLIENT}")

    (utterance,) = read(tmp_path, "ar", "dev")

    assert (utterance.text, Path(utterance.audio).name) == ("words", "b.mp3")  # old releases omit .mp3


def test_language_whose_directory_has_a_region(tmp_path: Path):
    write_common_voice(tmp_path, {"dev": [(CLIENT, "a.mp3", "字")]}, language="zh-CN")

    assert next(read(tmp_path, "zh", "dev")).lang_code == "zh"


def test_a_file_with_only_a_header_is_an_empty_split(tmp_path: Path):
    write_common_voice(tmp_path, {"other": []})

    assert list(read(tmp_path, "ar", "other")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{CLIENT}\ta.mp3\tone", r"dev.tsv:2: got 3 cells, wanted 6 as in the header"),
        (f"{CLIENT}\t../a.mp3\ts\tone\t2\tar", r"dev.tsv:2: id '../a.mp3' is empty or contains whitespace or slashes"),
        ("\ta.mp3\ts\tone\t2\tar", r"dev.tsv:2: client_id: id '' is empty"),
    ],
)
def test_malformed_row_names_file_and_line(tmp_path: Path, line: str, message: str):
    write_common_voice(tmp_path, {"dev": []})
    path = tmp_path / "ar/dev.tsv"
    write_text(path, path.read_text().strip(), line)

    with pytest.raises(ValueError, match=message):
        list(read(tmp_path, "ar", "dev"))


def test_missing_column_is_named(tmp_path: Path):
    write_text(tmp_path / "ar/dev.tsv", "client_id\tpath\ttext")

    with pytest.raises(ValueError, match=r"dev.tsv:1: got columns .* which lack sentence"):
        list(read(tmp_path, "ar", "dev"))


def test_malformed_duration_names_file_and_line(tmp_path: Path):
    write_common_voice(tmp_path, {"dev": []})
    write_text(tmp_path / "ar/clip_durations.tsv", "clip\tduration[ms]", "a.mp3\tlong")

    with pytest.raises(ValueError, match=r"clip_durations.tsv:2: got .*, wanted clip<TAB>milliseconds"):
        list(read(tmp_path, "ar", "dev"))


def test_missing_language_and_split_say_what_to_do(tmp_path: Path):
    write_common_voice(tmp_path, {"dev": []})
    with pytest.raises(ValueError, match=r"contains no directory ko; download the language"):
        list(read(tmp_path, "ko", "dev"))
    with pytest.raises(ValueError, match=r"train.tsv: no such file; download the language"):
        list(read(tmp_path, "ar", "train"))
