from pathlib import Path

import pytest

from tests.corpora.example import recording, write_recordings, write_text
from zipperasr.corpora import recordings_json
from zipperasr.corpora.wenetspeech import read

TRAIN = recording("Y1", "audio/train/Y1.opus", [(1.0, 2.5), (3.0, 4.0)], subsets=["M", "L"])
NET = recording("TEST_NET_Y2", "audio/test_net/Y2.opus", [(0.0, 2.0)], subsets=["TEST_NET"])


def test_segments_of_a_subset_are_read(tmp_path: Path):
    write_recordings(tmp_path / "WenetSpeech.json", [TRAIN, NET])

    first, _ = read(tmp_path, "zh", "L")
    (test,) = read(tmp_path, "zh", "test_net")

    assert (first.id, first.speaker, first.start_s, first.duration_s) == ("Y1_S0", "Y1", 1.0, 1.5)
    assert test.audio == str(tmp_path / "audio/test_net/Y2.opus")
    assert list(read(tmp_path, "zh", "dev")) == []


def test_file_is_decoded_in_chunks_smaller_than_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recordings_json, "CHUNK_CHARACTERS", 7)
    path = write_recordings(tmp_path / "WenetSpeech.json", [TRAIN, NET, TRAIN])

    assert list(recordings_json.iter_recordings(path)) == [TRAIN, NET, TRAIN]


def test_a_truncated_file_is_an_error_with_the_number_of_recordings(tmp_path: Path):
    path = write_recordings(tmp_path / "WenetSpeech.json", [TRAIN, NET])
    path.write_text(path.read_text()[:-60])

    with pytest.raises(ValueError, match=r"WenetSpeech.json: not complete JSON after recording 1 .*download it again"):
        list(read(tmp_path, "zh", "L"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../etc/x.opus"}, r"recording 'Y1': got path '../../etc/x.opus', wanted aid and a path below"),
        ({"path": "/x.opus"}, r"got path '/x.opus'"),
        ({"aid": ""}, r"recording '': got path"),
        ({"segments": [{"sid": "s", "subsets": ["L"], "begin_time": 1}]}, r"segment s: begin_time or end_time is miss"),
        ({"segments": [{"sid": "s", "subsets": ["L"], "begin_time": 2, "end_time": 1}]}, r"got begin 2.0, end 1.0"),
        (
            {"segments": [{"sid": "s", "subsets": ["L"], "begin_time": 1, "end_time": 10**400}]},
            r"segment s: begin_time or end_time is missing or not a number",
        ),
        ({"segments": [{"sid": "", "subsets": ["L"]}]}, r"id '' is empty"),
    ],
)
def test_malformed_recording_is_named(tmp_path: Path, change: dict, message: str):
    write_recordings(tmp_path / "WenetSpeech.json", [TRAIN | change])

    with pytest.raises(ValueError, match=message):
        list(read(tmp_path, "zh", "L"))


def test_a_list_of_other_values_is_an_error(tmp_path: Path):
    write_text(tmp_path / "WenetSpeech.json", '{"audios": [1, 2]}')

    with pytest.raises(ValueError, match=r"recording 1: got '1', wanted an object"):
        list(read(tmp_path, "zh", "L"))


def test_unknown_split_and_language_are_rejected(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no split 'test_nett'; did you mean 'TEST_NET'"):
        list(read(tmp_path, "zh", "test_nett"))
    with pytest.raises(ValueError, match="it is Mandarin"):
        list(read(tmp_path, "en", "L"))


def test_missing_metadata_says_where_to_ask(tmp_path: Path):
    write_text(tmp_path / "audio/x")
    with pytest.raises(ValueError, match=r"WenetSpeech.json: no such file; ask for access"):
        list(read(tmp_path, "zh", "L"))
