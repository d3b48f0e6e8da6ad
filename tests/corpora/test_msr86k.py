import json
from pathlib import Path

import pytest

from tests.corpora.example import recording, write_noise, write_recordings, write_text
from zipperasr.corpora.msr86k import read


def test_recordings_are_cut_into_segments(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_noise(tmp_path / "ru/train/-abc_EFG123.wav", 5.0)
    item = recording("-abc_EFG123", "-abc_EFG123.wav", [(0.5, 2.0), (2.5, 4.0)])
    item["segments"][1]["text_tn"] = "normalised"
    write_recordings(tmp_path / "ru/train.json", [item])

    first, second = read(tmp_path, "ru", "train")

    assert (first.id, first.speaker, first.text) == ("-abc_EFG123_S0", "-abc_EFG123", "text 0")
    assert (first.start_s, first.end_s, first.duration_s) == (0.5, 2.0, 1.5)
    assert second.text == "normalised" and Path(second.audio).is_file()
    assert "metadata format of train.json" in capsys.readouterr().err


LINES = {
    "dev.jsonl": [json.dumps({"utt_id": "v1_0", "audio_filepath": "v1_0.wav", "text": "да нет", "duration": 1.25})],
    "dev.tsv": ["id\tpath\tsentence\tduration", "v1_0\tv1_0.wav\tда нет\t1.25"],
    "dev/text": ["v1_0 да нет"],
}


@pytest.mark.parametrize("name", LINES)
def test_formats_with_one_line_per_utterance_give_the_same_result(tmp_path: Path, name: str):
    write_noise(tmp_path / "ru/dev/wav/v1_0.wav")
    write_text(tmp_path / "ru" / name, *LINES[name])

    (utterance,) = read(tmp_path, "ru", "dev")

    assert (utterance.id, utterance.speaker, utterance.text) == ("v1_0", "v1", "да нет")
    assert utterance.audio == str(tmp_path / "ru/dev/wav/v1_0.wav")
    assert utterance.duration_s == (None if name == "dev/text" else 1.25)


def test_kaldi_format_uses_its_wav_scp(tmp_path: Path):
    write_noise(tmp_path / "ru/elsewhere/x.flac")
    write_text(tmp_path / "ru/dev/text", "v1_0 да")
    write_text(tmp_path / "ru/dev/wav.scp", "v1_0 elsewhere/x.flac")

    assert Path(next(read(tmp_path, "ru", "dev")).audio).is_file()


def test_a_command_in_its_wav_scp_is_rejected(tmp_path: Path):
    write_text(tmp_path / "ru/dev/text", "v1_0 да")
    write_text(tmp_path / "ru/dev/wav.scp", "v1_0 sox x.mp3 -t wav - |")

    with pytest.raises(ValueError, match=r"wav\.scp:1: 'sox x\.mp3 -t wav - \|' is a command; commands in scp files"):
        next(read(tmp_path, "ru", "dev"))


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("dev.jsonl", '{"id": "a"', r"dev.jsonl:1: not JSON"),
        ("dev.jsonl", '["a"]', r"dev.jsonl:1: got .*, wanted one object per line"),
        ("dev.jsonl", '{"text": "a"}', r"dev.jsonl:1: got columns \['text'\], wanted one of id, utt_id"),
        ("dev.jsonl", '{"id": "a", "wav": "/etc/x.wav"}', r"got audio '/etc/x.wav', wanted a path below"),
        ("dev.jsonl", '{"id": "a", "wav": "../x.wav"}', r"got audio '../x.wav', wanted a path below"),
        ("dev.jsonl", '{"id": "a", "dur": "long"}', r"dev.jsonl:1: got duration 'long', wanted seconds"),
        ("dev.json", '{"audios": [{"segments": []}]}', r"a recording's aid: id '' is empty"),
        ("dev.json", '{"audio": []}', r'dev.json: contains no "audios": \['),
    ],
)
def test_malformed_metadata_is_named(tmp_path: Path, name: str, line: str, message: str):
    write_text(tmp_path / "ru" / name, line)

    with pytest.raises(ValueError, match=message):
        list(read(tmp_path, "ru", "dev"))


def test_a_row_with_too_many_cells_names_file_and_line(tmp_path: Path):
    write_text(tmp_path / "ru/dev.tsv", "id\ttext", "a\tb\tc")

    with pytest.raises(ValueError, match=r"dev.tsv:2: got 3 cells, wanted 2 as in the header"):
        list(read(tmp_path, "ru", "dev"))


def test_missing_metadata_lists_the_supported_formats(tmp_path: Path):
    write_text(tmp_path / "ru/README", "x")

    with pytest.raises(
        ValueError, match=r"none of dev.json, .*dev.jsonl, .*dev.tsv, .*dev/text exists; ask for access"
    ):
        list(read(tmp_path, "ru", "dev"))
