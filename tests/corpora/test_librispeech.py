from pathlib import Path

import pytest

from tests.corpora.example import write_librispeech, write_text
from zipperasr.corpora.librispeech import read


def test_chapters_of_a_split_are_read_in_order(tmp_path: Path):
    write_librispeech(tmp_path, {"dev-clean": ["84-121123-0001", "19-227-0000", "19-227-0001"]})

    utterances = list(read(tmp_path, "en", "dev-clean"))

    assert [utterance.id for utterance in utterances] == ["19-227-0000", "19-227-0001", "84-121123-0001"]
    assert utterances[0].speaker == "19" and utterances[0].text == "SOME WORDS OF IT"
    assert all(Path(utterance.audio).is_file() for utterance in utterances)


def test_root_may_be_the_unpacked_directory_itself(tmp_path: Path):
    write_librispeech(tmp_path, {"dev-clean": ["19-227-0000"]})

    assert len(list(read(tmp_path / "LibriSpeech", "en", "dev-clean"))) == 1


@pytest.mark.parametrize("line", ["19-227-0001", "19_227_0001 WORDS", "-227-0001 WORDS"])
def test_malformed_line_names_file_and_line(tmp_path: Path, line: str):
    write_text(tmp_path / "dev-clean/19/227/19-227.trans.txt", "19-227-0000 FINE", line)

    with pytest.raises(ValueError, match=r"19-227.trans.txt:2: got .*, wanted SPEAKER-CHAPTER-NUMBER and text"):
        list(read(tmp_path, "en", "dev-clean"))


def test_missing_split_and_missing_transcripts_say_what_to_do(tmp_path: Path):
    write_text(tmp_path / "dev-clean/README", "x")
    with pytest.raises(ValueError, match=r"test-other: no such directory; download the split's archive"):
        list(read(tmp_path, "en", "test-other"))
    with pytest.raises(ValueError, match=r"dev-clean: contains no SPEAKER/CHAPTER/\*.trans.txt"):
        list(read(tmp_path, "en", "dev-clean"))


def test_other_languages_are_rejected(tmp_path: Path):
    with pytest.raises(ValueError, match="LibriSpeech has no language 'de'"):
        list(read(tmp_path, "de", "dev-clean"))
