from pathlib import Path

import pytest

from tests.corpora.example import write_mls, write_text
from zipperasr.corpora.mls import read


def test_utterances_carry_speaker_text_audio_and_duration(tmp_path: Path):
    write_mls(tmp_path, {"train": ["1595_2012_000001", "15951_7_000002"]}, seconds=1.5)

    first, second = read(tmp_path, "de", "train")

    assert (first.id, first.speaker, first.text) == ("1595_2012_000001", "1595", "text von 1595 2012 000001")
    assert first.duration_s == pytest.approx(1.5)
    assert first.audio == str(tmp_path / "mls_german/train/audio/1595/2012/1595_2012_000001.flac")
    assert second.speaker == "15951" and Path(second.audio).is_file()


def test_opus_archive_is_found_under_its_own_name(tmp_path: Path):
    write_mls(tmp_path, {"dev": ["1_2_000003"]}, directory="mls_german_opus", suffix=".opus")

    (utterance,) = read(tmp_path, "de", "dev")

    assert Path(utterance.audio).suffix == ".opus" and Path(utterance.audio).is_file()


def test_without_segments_the_duration_is_unknown(tmp_path: Path):
    write_mls(tmp_path, {"dev": ["1_2_000003"]})
    (tmp_path / "mls_german/dev/segments.txt").unlink()

    assert next(read(tmp_path, "de", "dev")).duration_s is None


def test_byte_order_mark_and_windows_line_ends_are_removed(tmp_path: Path):
    write_mls(tmp_path, {"dev": ["1_2_000003"]})
    path = tmp_path / "mls_german/dev/transcripts.txt"
    path.write_bytes(b"\xef\xbb\xbf1_2_000003\tguten tag\r\n\r\n")

    (utterance,) = read(tmp_path, "de", "dev")

    assert (utterance.id, utterance.text) == ("1_2_000003", "guten tag")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1_2_000003 kein tabulator", r"transcripts.txt:2: id .* contains whitespace"),
        ("1_2_000003", r"transcripts.txt:2: got .*, wanted SPEAKER_BOOK_NUMBER<TAB>text"),
        ("12_000003\ttext", r"transcripts.txt:2: got .*, wanted SPEAKER_BOOK_NUMBER"),
        ("_2_000003\ttext", r"transcripts.txt:2: got .*, wanted SPEAKER_BOOK_NUMBER"),
        ("../../1_2_3\ttext", r"transcripts.txt:2: id '../../1_2_3' is empty or contains whitespace or slashes"),
    ],
)
def test_malformed_transcript_names_file_and_line(tmp_path: Path, line: str, message: str):
    write_mls(tmp_path, {"dev": ["1_2_000003"]})
    write_text(tmp_path / "mls_german/dev/transcripts.txt", "1_2_000003\tgut", line)

    with pytest.raises(ValueError, match=message):
        list(read(tmp_path, "de", "dev"))


def test_malformed_segment_names_file_and_line(tmp_path: Path):
    write_mls(tmp_path, {"dev": ["1_2_000003"]})
    write_text(tmp_path / "mls_german/dev/segments.txt", "1_2_000003\thttp://x\t1.0")

    with pytest.raises(ValueError, match=r"segments.txt:1: got .*, wanted id, URL, start, end"):
        list(read(tmp_path, "de", "dev"))


def test_text_in_another_encoding_names_file_and_line(tmp_path: Path):
    write_mls(tmp_path, {"dev": ["1_2_000003"]})
    (tmp_path / "mls_german/dev/transcripts.txt").write_bytes("1_2_000003\tgrün".encode("latin-1"))

    with pytest.raises(ValueError, match=r"transcripts.txt:1: not UTF-8 .* convert the file"):
        list(read(tmp_path, "de", "dev"))


def test_missing_and_empty_places_say_where_to_download(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere: no such directory; .*openslr.org/94"):
        list(read(tmp_path / "nowhere", "de", "train"))
    with pytest.raises(ValueError, match=r"the directory is empty; .*openslr.org/94"):
        list(read(tmp_path, "de", "train"))
    write_text(tmp_path / "mls_french/x")
    with pytest.raises(ValueError, match=r"contains neither mls_german nor mls_german_opus"):
        list(read(tmp_path, "de", "train"))
    write_text(tmp_path / "mls_german/train/x")
    with pytest.raises(ValueError, match=r"transcripts.txt: no such file"):
        list(read(tmp_path, "de", "train"))


def test_language_that_mls_lacks_names_the_nearest(tmp_path: Path):
    with pytest.raises(ValueError, match=r"MLS has no language 'ru'; .*choose from de"):
        list(read(tmp_path, "ru", "train"))
