"""Conversion of one chunk of utterances, intact and broken."""

import json
import threading
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from tests.corpora.example import write_noise
from zipperasr.audio.convert import FILES_AHEAD, Chunk, convert_chunk
from zipperasr.audio.load import load_audio, open_entry, to_int16
from zipperasr.datadir.entry import Entry

ENTRY = Entry("s-a", "s", "a.flac", "text", "de", 1.0)


def entry_for(path: Path, **changes: object) -> Entry:
    return ENTRY._replace(utt=f"s-{path.stem}", audio=str(path), **changes)


def convert(tmp_path: Path, *entries: Entry, audio_format: str = "flac.ark"):
    return convert_chunk(Chunk(str(tmp_path / "format.1"), audio_format, entries))


def test_samples_are_unchanged_and_kaldiio_reads_them(tmp_path: Path):
    samples = write_noise(tmp_path / "a.flac", 1.0)[:, 0]

    (entry,) = convert(tmp_path, entry_for(tmp_path / "a.flac")).written

    rate, array = kaldiio.load_mat(entry.audio)
    assert (entry.utt, entry.num_samples, entry.duration_s, rate) == ("s-a", 16_000, 1.0, 16_000)
    assert np.allclose(array, samples, atol=1e-4)
    assert np.array_equal(to_int16(load_audio(entry.audio)), to_int16(array))


def test_espnet_reads_the_files_of_the_flac_format(tmp_path: Path):
    sound_scp = pytest.importorskip("espnet2.fileio.sound_scp", reason="espnet is not installed")
    samples = write_noise(tmp_path / "a.mp3", 1.0, rate=32_000, channels=2)

    result = convert(tmp_path, entry_for(tmp_path / "a.mp3"), audio_format="flac")

    rate, array = sound_scp.SoundScpReader(str(tmp_path / "format.1/wav.scp"))["s-a"]
    assert rate == 16_000 and len(array) == result.written[0].num_samples == pytest.approx(len(samples) / 2, abs=800)
    assert np.allclose(array, load_audio(result.written[0].audio))


def test_segments_are_cut_from_one_open_file(tmp_path: Path):
    samples = write_noise(tmp_path / "long.flac", 4.0)[:, 0]
    times = [(2.5, 3.5), (0.5, 1.25)]
    entries = [ENTRY._replace(utt=f"s-{n}", audio=str(tmp_path / "long.flac"), duration_s=end - start, start_s=start,
                       end_s=end) for n, (start, end) in enumerate(times)]  # fmt: skip

    result = convert(tmp_path, *entries)

    for entry, (start, end) in zip(result.written, times, strict=True):
        assert entry.num_samples == round((end - start) * 16_000) and entry.start_s is None
        assert np.allclose(load_audio(entry.audio), samples[round(start * 16_000) : round(end * 16_000)], atol=1e-4)


def test_broken_audio_is_quarantined_with_its_reason(tmp_path: Path):
    write_noise(tmp_path / "good.flac", 1.0)
    (tmp_path / "empty.flac").write_bytes(b"")
    (tmp_path / "text.flac").write_text("not audio")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, dtype=np.float32), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    write_noise(tmp_path / "short.wav", 0.3)
    soundfile.write(tmp_path / "slow.wav", np.zeros(99, dtype=np.float32), 99)
    (tmp_path / "no_header.raw").write_bytes(b"\0" * 99)
    names = [
        "no_header.raw",
        "slow.wav",
        "good.flac",
        "empty.flac",
        "text.flac",
        "zero.wav",
        "nan.wav",
        "short.wav",
        "gone.wav",
    ]

    result = convert(tmp_path, *(entry_for(tmp_path / name) for name in names))

    assert [entry.utt for entry in result.written] == ["s-good"]
    reasons = dict(result.quarantined)
    assert reasons["s-empty"].startswith("cannot be decoded") and reasons["s-text"].startswith("cannot be decoded")
    assert reasons["s-gone"].startswith("cannot be decoded")
    assert "slow.wav: sampling rate 99 Hz, wanted 1000 to 384000 Hz" in reasons["s-slow"]
    assert "no_header.raw: raw samples without a header" in reasons["s-no_header"]
    assert reasons["s-zero"] == "no samples" and reasons["s-nan"] == "samples that are not a number"
    assert reasons["s-short"] == "cut off: 0.30 s of 1.00 s"


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".mp3", ".opus"])
def test_truncated_file_is_quarantined(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    write_noise(path, 4.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    result = convert(tmp_path, entry_for(path, duration_s=4.0))

    assert not result.written
    assert result.quarantined[0][1].startswith(("cut off: ", "cannot be decoded: "))


def test_segment_beyond_the_recording_is_quarantined(tmp_path: Path):
    write_noise(tmp_path / "long.flac", 1.0)

    result = convert(tmp_path, entry_for(tmp_path / "long.flac", duration_s=2.0, start_s=5.0, end_s=7.0))

    assert result.quarantined == [("s-long", "no samples")]


def test_finished_chunk_is_not_converted_again(tmp_path: Path):
    write_noise(tmp_path / "a.flac", 1.0)
    first = convert(tmp_path, entry_for(tmp_path / "a.flac"))
    (tmp_path / "a.flac").unlink()

    assert convert(tmp_path, entry_for(tmp_path / "a.flac")) == first
    changed = convert(tmp_path, entry_for(tmp_path / "a.flac", duration_s=1.1))
    assert not changed.written and "cannot be decoded" in changed.quarantined[0][1]


def test_chunk_without_its_record_is_converted_again(tmp_path: Path):
    write_noise(tmp_path / "a.flac", 1.0)
    first = convert(tmp_path, entry_for(tmp_path / "a.flac"))
    record = tmp_path / "format.1.json"
    assert json.loads(record.read_text())["written"] == [["s-a", first.written[0].audio, 16_000]]
    record.unlink()
    (tmp_path / "format.1.ark").write_bytes(b"half")

    assert convert(tmp_path, entry_for(tmp_path / "a.flac")) == first
    assert len(load_audio(first.written[0].audio)) == 16_000


def test_files_are_opened_ahead_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a network file system, opening takes longer than converting."""
    paths = [tmp_path / f"{number}.flac" for number in range(2 * FILES_AHEAD)]
    for path in paths:
        write_noise(path, 0.2)
    together, opened = threading.Barrier(FILES_AHEAD, timeout=60), []

    def wait_and_open(source: str):
        opened.append(source)
        together.wait()  # passes when as many files as wanted are being opened
        return open_entry(source)

    monkeypatch.setattr("zipperasr.audio.convert.open_entry", wait_and_open)
    result = convert(tmp_path, *(entry_for(path, duration_s=0.2) for path in paths))
    assert [entry.utt for entry in result.written] == [f"s-{path.stem}" for path in paths]
    assert sorted(opened) == sorted(map(str, paths))
