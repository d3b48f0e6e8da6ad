from pathlib import Path

import pytest
from corpora.example import write_text

from zipperasr.data.datadir import Entry, read_data_dir, read_table, write_data_dir

ENTRY = Entry("s1-a", "s1", "x/a.flac", "guten tag", "de", 1.25)


def test_written_directory_reads_back(tmp_path: Path):
    entries = [ENTRY._replace(utt="s2-b", speaker="s2", audio="x/b.flac", repeat=2), ENTRY]

    write_data_dir(tmp_path / "set", entries)

    assert read_data_dir(tmp_path / "set") == [ENTRY, entries[0]]
    assert (tmp_path / "set/spk2utt").read_text() == "s1 s1-a\ns2 s2-b\n"
    assert (tmp_path / "set/utt2repeat").read_text() == "s1-a 1\ns2-b 2\n"


def test_segments_of_one_recording_share_its_line_in_wav_scp(tmp_path: Path):
    entries = [
        ENTRY._replace(utt=f"s1-{n}", audio="x/long.opus", start_s=n * 2.0, end_s=n * 2.0 + 1.25) for n in range(3)
    ]

    write_data_dir(tmp_path / "set", entries)

    assert (tmp_path / "set/wav.scp").read_text() == "long x/long.opus\n"
    assert (tmp_path / "set/segments").read_text().splitlines()[1] == "s1-1 long 2.000 3.250"
    assert read_data_dir(tmp_path / "set") == entries


def test_tables_are_in_c_order(tmp_path: Path):
    utts = ["15-15_7", "159-159_7", "é-1", "z-1", "A-1"]

    write_data_dir(tmp_path / "set", [ENTRY._replace(utt=u, speaker=u.partition("-")[0]) for u in utts])

    keys = [line.split()[0].encode() for line in (tmp_path / "set/text").read_text(encoding="utf-8").splitlines()]
    assert keys == sorted(keys)


def test_existing_directory_is_replaced_as_a_whole(tmp_path: Path):
    write_text(tmp_path / "set/segments", "old")

    write_data_dir(tmp_path / "set", [ENTRY])

    assert not (tmp_path / "set/segments").exists()


def test_second_id_and_unsortable_speakers_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"set: id 's1-a' comes twice \(x/a.flac and x/z.flac\)"):
        write_data_dir(tmp_path / "set", [ENTRY, ENTRY._replace(audio="x/z.flac")])
    clash = [ENTRY._replace(utt="a-b-1", speaker="a-b"), ENTRY._replace(utt="a-c", speaker="a")]
    with pytest.raises(ValueError, match=r"speakers 'a-b' and 'a' do not sort as their utterances"):
        write_data_dir(tmp_path / "set", clash)
    assert not (tmp_path / "set").exists()


def test_recordings_of_the_same_name_are_refused(tmp_path: Path):
    entries = [ENTRY._replace(utt=f"s1-{n}", audio=f"{n}/long.opus", start_s=0.0, end_s=1.0) for n in range(2)]

    with pytest.raises(ValueError, match=r"1/long.opus: 0/long.opus has the same name"):
        write_data_dir(tmp_path / "set", entries)


def test_table_errors_name_file_and_line(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"text: no such file; run the stage"):
        read_table(tmp_path / "text")
    write_text(tmp_path / "text", "a one", "b")
    with pytest.raises(ValueError, match=r"text:2: 'b' has no value"):
        read_table(tmp_path / "text")
    write_text(tmp_path / "text", "a one", "a two")
    with pytest.raises(ValueError, match=r"text:2: 'a' stands here a second time"):
        read_table(tmp_path / "text")


def test_id_that_one_table_lacks_is_named(tmp_path: Path):
    write_data_dir(tmp_path / "set", [ENTRY])
    write_text(tmp_path / "set/utt2lang", "other de")

    with pytest.raises(ValueError, match=r"utt2lang: id 's1-a' of utt2spk is not in it; rerun stage 1"):
        read_data_dir(tmp_path / "set")


def test_malformed_segment_is_named(tmp_path: Path):
    write_data_dir(tmp_path / "set", [ENTRY._replace(start_s=0.0, end_s=1.0)])
    write_text(tmp_path / "set/segments", "s1-a a 0.0")

    with pytest.raises(ValueError, match=r"segments: id 's1-a': got \['a', '0.0'\], wanted recording, start, end"):
        read_data_dir(tmp_path / "set")
