from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tests.report.html.conftest import PageData
from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.datadir.entry import write_lines
from zipperasr.report.html.recordings import copy_audio, flac_bytes

EN = "test_librispeech_en"


def wav_scp(run):
    lines = (run / "dump" / "raw" / EN / "wav.scp").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ") for line in lines)


def test_every_utterance_has_the_samples_that_were_recognised(run, build):
    assert build(run) == 0
    for utt, entry in wav_scp(run).items():
        samples, rate = soundfile.read(run / "report_audio" / EN / f"{utt}.flac", dtype="float32")
        assert rate == SAMPLE_RATE and np.array_equal(samples, load_audio(entry))


def test_the_utterances_with_the_most_errors_have_audio(run, build):
    assert build(run, "--audio_utts", "2") == 0
    page = PageData(run / "report.html")
    assert page.index["audio"][EN] == ["spk0-en00003", "spk1-en00004"]  # nothing recognised; six times "stop"
    assert sorted(path.stem for path in (run / "report_audio" / EN).glob("*.flac")) == page.index["audio"][EN]


def test_with_none_nothing_is_copied_and_the_page_has_a_note(run, build):
    assert build(run, "--audio", "none") == 0
    assert not (run / "report_audio").exists()
    assert any("--audio none" in note for note in PageData(run / "report.html").index["notes"])


def test_audio_is_copied_once(run, build):
    assert build(run) == 0
    before = {path: path.stat().st_mtime_ns for path in (run / "report_audio").rglob("*.flac")}
    assert build(run) == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "report_audio").rglob("*.flac")} == before


@pytest.mark.parametrize("gone", ["wav.scp", "format.1.ark"])
def test_deleted_audio_gives_a_note(run, build, gone):
    directory = run / "dump" / "raw" / EN
    entries = {
        utt: directory / entry.rpartition("/")[2] for utt, entry in wav_scp(run).items()
    }  # paths in this copy of the run
    write_lines(directory / "wav.scp", [f"{utt} {entry}" for utt, entry in entries.items()])
    (directory / gone).unlink()
    assert build(run) == 0
    page = PageData(run / "report.html")
    assert EN not in page.index["audio"]
    assert any(note.startswith(f"No audio for {EN}: ") and gone in note for note in page.index["notes"])


def test_a_plain_flac_file_is_copied(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(160, np.int16), SAMPLE_RATE)
    assert flac_bytes(str(path), "wav.scp: id 'a'") == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "entry", "message"),
    [
        (b"xxAUDIO", "a.ark:1", "got b'xAUDI' at byte 1"),
        (b"AUDIO\x01\x09fLaC", "a.ark:0", "ends after 4 of 9 bytes of audio; rerun stage 2"),
        (b"AUDIO\x01\x04RIFF", "a.ark:0", "got b'RIFF' at .*, wanted a flac file; rerun stage 2"),
        (b"RIFF", "a.ark", "wanted a flac file"),
        (b"", "a.ark:0", "got b'' at byte 0"),
    ],
)
def test_files_that_are_not_flac_are_errors(tmp_path, content, entry, message):
    (tmp_path / "a.ark").write_bytes(content)
    with pytest.raises(ValueError, match=f"^wav.scp: id 'a': .*{message}"):
        flac_bytes(str(tmp_path / entry), "wav.scp: id 'a'")


def test_a_failing_copy_leaves_no_files(tmp_path):
    (tmp_path / "good.flac").write_bytes(b"fLaC")
    (tmp_path / "bad.flac").write_bytes(b"none")
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/good.flac\nb {tmp_path}/bad.flac\n", encoding="utf-8")
    with pytest.raises(ValueError, match="id 'b'"):
        copy_audio(tmp_path / "wav.scp", ["a", "b"], tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []
