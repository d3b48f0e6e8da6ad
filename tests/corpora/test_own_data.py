"""Lists of utterances in every format, and what is made of fields that are missing or wrong."""

from __future__ import annotations

import json
from pathlib import Path

import kaldiio
import pytest
import soundfile

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import SECONDS, WRITERS, expected, write_audio
from zipperasr.corpora import read_corpus
from zipperasr.corpora.own_data import language_code, name_of_audio


def whole_files(utterances: list) -> list:
    """Kaldi's segments cover whole files too."""
    return [
        utterance._replace(start_s=None, end_s=None) if utterance.end_s == SECONDS else utterance
        for utterance in utterances
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_lists_the_same_utterances(tmp_path: Path, name: str):
    reader, write = WRITERS[name]
    write_audio(tmp_path)
    write(tmp_path, "train")

    found = [utterance for lang in ("de", "es") for utterance in read_corpus(reader, tmp_path, lang, "train")]

    assert whole_files(found) == expected(tmp_path, "train")


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_to_a_list_finds_the_audio_beside_the_list(tmp_path: Path, name: str):
    reader, write = WRITERS[name]
    write_audio(tmp_path / "data")
    path = write(tmp_path / "data", "2024-final")
    path = path.parent if reader == "kaldi" else path
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / f"train{''.join(path.suffixes)}").symlink_to(path)

    (utterance,) = read_corpus(reader, tmp_path / "own", "es", "train")

    assert utterance.audio == str((tmp_path / "data/wav/three.flac").resolve())


def read_lines(root: Path, *objects: dict, language: str = "de") -> list:
    write_text(root / "train.jsonl", *map(json.dumps, objects))
    return list(read_corpus("jsonl", root, language, "train"))


def test_the_form_of_qwen3_asr(tmp_path: Path):
    line = {"audio": "/data/a.wav", "text": "language German<asr_text>Guten Tag."}

    (utterance,) = read_lines(tmp_path, line)

    assert (utterance.audio, utterance.text, utterance.lang_code) == ("/data/a.wav", "Guten Tag.", "de")
    with pytest.raises(ValueError, match=r"train.jsonl:1: no language; add a field `lang`, or move the list to .*/de$"):
        read_lines(tmp_path, line | {"text": "language None<asr_text>"})


def test_other_fields_may_have_numbers_that_only_python_writes(tmp_path: Path):
    (utterance,) = read_lines(tmp_path, GOOD | {"wer": float("nan"), "score": float("-inf")})

    assert utterance.audio == f"{tmp_path.resolve()}/a.wav"


def test_recordings_of_one_ark_have_different_names(tmp_path: Path):
    found = read_lines(tmp_path / "own", *(GOOD | {"audio": f"data/x.ark:{offset}"} for offset in (7, 999)))

    assert [utterance.id for utterance in found] == ["own_data_x_7", "own_data_x_999"]


@pytest.mark.parametrize(
    ("audio", "name"),
    [
        ("a.b/c", "a.b_c"), ("x..wav", "x."), ("ä-1.wav", "ä_1"), ("s 1/(x).flac", "s_1__x"),
        (".hidden/.wav", "hidden_.wav"), ("..x.wav", "x"), (".wav", "wav"), ("-.wav", "_"),
    ],
)  # fmt: skip
def test_names_of_audio(tmp_path: Path, audio: str, name: str):
    assert name_of_audio(f"{tmp_path.resolve()}/{audio}", tmp_path / "own/train.jsonl") == name


def test_lines_in_other_languages_are_found_whatever_else_they_contain(tmp_path: Path):
    """A language in the text, in a nested object or escaped is not the line's."""
    good = [
        {"audio": "a.wav", "lang": "de", "text": '"lang": "en"'},
        {"audio": "b.wav", "text": "x", "meta": {"lang": "en"}, "lang": "de"},
        {"audio": "c.wav", "text": "x", "language": "German"},
        {"audio": "d.wav", "text": "language German<asr_text>x"},
        {"audio": "e.wav", "lang": "de-AT", "text": "{x}"},
    ]
    others = [{"audio": "f.wav", "text": "de", "lang": "en"}, {"audio": "g.wav", "text": "x", "lang": "English"}]

    assert [Path(utterance.audio).stem for utterance in read_lines(tmp_path, *good, *others)] == list("abcde")
    assert [Path(u.audio).stem for u in read_lines(tmp_path, *others, *good, language="en")] == list("fg")


def test_ids_and_speakers_are_made_from_the_audio_path(tmp_path: Path):
    found = read_lines(
        tmp_path / "own",
        {"audio": "s-1/001.wav", "text": "x", "lang": "de"},
        {"audio": "s-1/002.wav", "text": "x", "lang": "de", "offset": 1.25, "duration": 2},
        {"audio": "/elsewhere/001.wav", "text": "x", "lang": "de", "speaker": "Max Mustermann"},
    )

    assert [(utterance.id, utterance.speaker) for utterance in found] == [
        ("own_s_1_001", "own_s_1_001"),
        ("own_s_1_002_00001250", "own_s_1_002"),
        ("elsewhere_001", "Max_Mustermann"),
    ]


def test_a_list_in_the_directory_of_a_language_needs_no_field_for_it(tmp_path: Path):
    write_text(tmp_path / "de/train.csv", "audio,text", "a.wav,hallo")

    (utterance,) = read_corpus("csv", tmp_path, "de", "train")

    assert (utterance.lang_code, utterance.audio) == ("de", str(tmp_path.resolve() / "de/a.wav"))


@pytest.mark.parametrize(
    ("name", "code"),
    [("de", "de"), ("de-DE", "de"), ("pt_br", "pt"), ("German", "de"), ("cmn_hans_cn", "zh"), ("Haitian Creole", "ht")],
)
def test_names_of_languages(name: str, code: str):
    assert language_code(name, "x") == code


GOOD = {"audio": "a.wav", "text": "x", "lang": "de"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"train.jsonl:2: not JSON"),
        ("[1]", r"train.jsonl:2: got '\[1\]', wanted an object"),
        ({"audio": None}, r"train.jsonl:2: got audio None, wanted a path in one of audio, audio_filepath"),
        ({"audio": 3}, r"got audio 3, wanted a path"),
        ({"audio": {"bytes": "abc"}}, r"got audio None, wanted a path"),
        ({"audio": "s3://bucket/a.wav"}, r"got audio 's3://bucket/a.wav', wanted a file; download it"),
        ({"audio": "sox a.wav -t wav - |"}, r"is a command; commands in scp files are not run"),
        ({"text": 3}, r"got text 3, wanted a string"),
        ({"text": "\ud800"}, r"is not Unicode"),
        ({"lang": "Germn"}, r"unknown language 'Germn'; did you mean 'german'\?"),
        ({"duration": "long"}, r"got duration 'long', wanted seconds"),
        ({"duration": -1}, r"got duration '-1', wanted seconds, 0 or more"),
        ({"offset": 1}, r"got offset 1.0 and no duration; add the duration, in seconds"),
        ({"id": "a/b"}, r"id 'a/b' is empty or contains whitespace or slashes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict | str, message: str):
    bad = line if isinstance(line, str) else json.dumps(GOOD | line)
    write_text(tmp_path / "train.jsonl", json.dumps(GOOD), bad)

    with pytest.raises(ValueError, match=message):
        list(read_corpus("jsonl", tmp_path, "de", "train"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.csv", b"audio,words\na.wav,x\n", r"train.csv:1: got columns .*, none of which is text or sentence"),
        ("train.csv", b"audio,text,lang\na.wav,x\n", r"train.csv:2: got 2 cells, wanted as many as in the header"),
        ("train.csv", b'audio,text,lang\na.wav,"x,de\n', r"train.csv:2: unexpected end of data; correct the line"),
        ("train.csv", b"audio,text,lang\na.wav,\xff,de\n", r"train.csv: after line 0: .*convert the file with iconv"),
        ("train.csv", b"", r"train.csv:1: got columns \[\]"),
        ("train.tsv", b"audio\ttext\tlang\na.wav\tx\n", r"train.tsv:2: got 2 cells"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, file: str, content: bytes, message: str):
    (tmp_path / file).write_bytes(content)

    with pytest.raises(ValueError, match=message):
        list(read_corpus("csv", tmp_path, "de", "train"))


def write_data_dir(root: Path, **tables: str) -> None:
    for name, line in {"wav_scp": "a a.wav", "text": "a hallo", "utt2lang": "a de", **tables}.items():
        write_text(root / "train" / name.replace("_", "."), line)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"wav_scp": "a sph2pipe a.sph |"}, r"wav.scp:1: 'sph2pipe a.sph \|' is a command"),
        ({"wav_scp": "a "}, r"wav.scp:1: 'a': no recording in .*wav.scp; correct the line"),
        ({"segments": "a b 0 1"}, r"segments:1: 'a': no recording in"),
        ({"segments": "a a 1"}, r"segments:1: 'a': got times '1', wanted seconds"),
        ({"segments": "a a 2 1"}, r"segments:1: 'a': got times '2 1', wanted seconds"),
        ({"utt2dur": "a x"}, r"wav.scp:1: 'a': got times 'x', wanted seconds"),
        ({"wav_scp": 'a [["x.wav", 0]]'}, r"is a composed clip"),
        ({"text": "b hallo"}, r"train/text: 'b': no recording in .*wav.scp; correct the line"),
    ],
)
def test_a_bad_data_directory_is_named(tmp_path: Path, tables: dict[str, str], message: str):
    write_data_dir(tmp_path, **tables)

    with pytest.raises(ValueError, match=message):
        list(read_corpus("kaldi", tmp_path, "de", "train"))


def test_a_data_directory_of_kaldi_with_arks_and_without_the_optional_tables(tmp_path: Path):
    """Paths start at the recipe that wrote the directory; an utterance without a line in text has no text."""
    samples = write_noise(tmp_path / "recipe/wav/b.wav", 1.0)[:, 0]
    rate, data = soundfile.read(tmp_path / "recipe/wav/b.wav", dtype="int16")[::-1]
    kaldiio.save_ark(str(tmp_path / "recipe/data.ark"), {"a": (rate, data)}, scp=str(tmp_path / "scp"))
    offset = (tmp_path / "scp").read_text().rpartition(":")[2].strip()
    folder = tmp_path / "recipe/data/train"
    write_text(folder / "wav.scp", f"a data.ark:{offset}", "b wav/b.wav")
    write_text(folder / "text", "b zwei")
    write_text(folder / "utt2lang", "a de", "b de")

    first, second = read_corpus("kaldi", tmp_path / "recipe/data", "de", "train")

    assert first.audio == f"{tmp_path.resolve()}/recipe/data.ark:{offset}"
    assert (first.text, second.text, second.audio) == ("", "zwei", f"{tmp_path.resolve()}/recipe/wav/b.wav")
    assert len(samples) == 16_000


def test_ids_of_other_data_directories_stay_whole(tmp_path: Path):
    """Only `001` after the speaker would be an id of two utterances."""
    write_text(tmp_path / "train/wav.scp", "A-001 a.wav", "B-001 b.wav")
    write_text(tmp_path / "train/text", "A-001 eins", "B-001 zwei")
    write_text(tmp_path / "train/utt2spk", "A-001 A", "B-001 B")
    write_text(tmp_path / "train/utt2lang", "A-001 de", "B-001 de")

    found = list(read_corpus("kaldi", tmp_path, "de", "train"))

    assert [(utterance.id, utterance.speaker) for utterance in found] == [("A-001", "A"), ("B-001", "B")]


def test_a_segment_may_end_with_its_recording(tmp_path: Path):
    write_data_dir(tmp_path, segments="a a 0.5 -1")

    (utterance,) = read_corpus("kaldi", tmp_path, "de", "train")

    assert (utterance.start_s, utterance.end_s, utterance.duration_s) == (0.5, None, None)


def cut(**changes: object) -> dict:
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 32000, "duration": 2.0}
    supervision = {
        "id": "u", "recording_id": "r", "start": 0.0, "duration": 2.0, "channel": 0, "text": "x", "language": "German",
    }  # fmt: skip
    found = {"id": "c", "start": 0, "duration": 2.0, "channel": 0, "type": "MonoCut", "supervisions": [supervision]}
    recording |= changes.pop("recording", {})
    return found | {"recording": recording} | changes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"train.jsonl:1: not a cut that lhotse reads"),
        ({"type": "MonoCut"}, r"not a cut that lhotse reads"),
        (
            cut(recording={"transforms": [{"name": "Speed", "kwargs": {"factor": 0.9}}]}),
            r"cut 'c': the recording has transforms; write it with save_audios",
        ),
        (cut(supervisions=[]), r"train.jsonl:1: cut 'c' has no supervision; add its text"),
        (
            cut(recording={"sources": [{"type": "command", "channels": [0], "source": "cat a.wav"}]}),
            "in one audio file",
        ),
        (
            cut(
                recording={"sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}], "channel_ids": [0, 1]}
            ),
            r"cut 'c': channel 0 of 2; write one file per channel",
        ),
    ],
)
def test_a_bad_cut_is_named(tmp_path: Path, line: dict | str, message: str):
    write_text(tmp_path / "train.jsonl", line if isinstance(line, str) else json.dumps(line))

    with pytest.raises(ValueError, match=message):
        list(read_corpus("lhotse", tmp_path, "de", "train"))


def test_a_damaged_archive_of_cuts_is_named(tmp_path: Path):
    (tmp_path / "train.jsonl.gz").write_bytes(b"not gzip")

    with pytest.raises(ValueError, match=r"train.jsonl.gz:1: cannot be read .*; write the CutSet again"):
        list(read_corpus("lhotse", tmp_path, "de", "train"))


def test_a_missing_split_says_where_it_was_looked_for(tmp_path: Path):
    write_text(tmp_path / "train.csv", "audio,text")

    with pytest.raises(
        ValueError, match=r"contains none of de/dev.csv, de/dev.tsv, dev.csv, dev.tsv; correct the root"
    ):
        list(read_corpus("csv", tmp_path, "de", "dev"))


def test_a_reader_may_be_a_file_of_the_recipe(tmp_path: Path):
    reader = write_text(
        tmp_path / "local/village.py",
        "from zipperasr.corpora.utterance import Utterance",
        "def read(root, language, split):",
        "    yield Utterance(split, 'eva', f'{root}/{split}.wav', 'olá', language)",
    )

    (utterance,) = read_corpus(str(reader), tmp_path, "pt", "train")

    assert (utterance.id, utterance.lang_code) == ("train", "pt")
    reader.write_text("")
    with pytest.raises(ValueError, match=r"village.py: defines no function read\(root, language, split\)"):
        list(read_corpus(str(reader), tmp_path, "pt", "train"))
    with pytest.raises(ValueError, match=r"town.py: no such file; write a reader"):
        list(read_corpus(str(tmp_path / "town.py"), tmp_path, "pt", "train"))
