from __future__ import annotations

import io
import re
import tracemalloc

import kaldiio
import numpy as np
import pytest
import soundfile

from tests.transcribe.sound import RATE, noise
from zipperasr.transcribe.sources import Recording, find_recordings


def read(recording: Recording) -> np.ndarray:
    return np.concatenate(list(recording.blocks()))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels_are_converted_to_16_khz_mono(tmp_path, rate, channels):
    time = np.arange(int(25.5 * rate)) / rate
    tone = np.sin(2 * np.pi * 440 * time) * 0.5
    soundfile.write(tmp_path / "a.flac", np.stack([tone] * channels, 1), rate)
    samples = read(Recording("a", tmp_path / "a.flac"))
    assert abs(len(samples) - 25.5 * RATE) <= 2
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / RATE)
    assert np.abs(samples - wanted)[100:-100].max() < 1e-3  # processing in blocks must not matter


def test_standard_input_is_read(tmp_path, monkeypatch):
    stream = io.BytesIO()
    soundfile.write(stream, noise(0.5), RATE, format="WAV", subtype="FLOAT")

    class Stdin:
        buffer = io.BytesIO(stream.getvalue())

    monkeypatch.setattr("sys.stdin", Stdin)
    (recording,) = find_recordings(["-"])
    assert np.array_equal(read(recording), noise(0.5))


def test_folders_are_searched_and_scp_files_read(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.wav", "deep/a.flac", "deep/er/c.ogg"):
        soundfile.write(tmp_path / name, noise(0.3), RATE)
    (tmp_path / "deep" / "notes.txt").write_text("no audio")
    kaldiio.save_ark(
        str(tmp_path / "x.ark"), {"u1": (RATE, (noise(0.3) * 32767).astype(np.int16))}, scp=str(tmp_path / "wav.scp")
    )
    with (tmp_path / "wav.scp").open("a") as stream:
        stream.write(f"u2 {tmp_path / 'b.wav'}\n")
    found = list(find_recordings([str(tmp_path / "deep"), str(tmp_path / "wav.scp")]))
    assert [recording.id.removeprefix(f"{tmp_path}/") for recording in found] == [
        "deep/a.flac",
        "deep/er/c.ogg",
        "u1",
        "u2",
    ]
    assert all(abs(len(read(recording)) - 0.3 * RATE) < 400 for recording in found)


def test_a_truncated_recording_has_a_reason(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(12.0), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.flac: cannot be decoded \(.*lost sync"):
        read(Recording("a", tmp_path / "a.flac"))


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [
        (655_350, 8, "sampling rate 655350 Hz, wanted 1000 to 384000 Hz; resample it to 16000 Hz"),
        (999, 1, "sampling rate 999 Hz, wanted 1000 to 384000 Hz; resample it to 16000 Hz"),
        (16_000, 65, "65 channels, at most 64 are read; mix it down to mono"),
    ],
)
def test_invalid_rates_and_channels_are_rejected_before_reading_samples(tmp_path, monkeypatch, rate, channels, message):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, channels)), rate)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("a sample was read"))
    with pytest.raises(ValueError, match=re.escape(f"a.wav: {message}")):
        read(Recording("a", tmp_path / "a.wav"))


def test_the_memory_of_a_block_depends_neither_on_rate_nor_on_channels(tmp_path):
    """100 kB of FLAC decode to 128 MB of float32; blocks have as many values as 10 s of 48 kHz stereo."""
    silence = np.zeros((4_000_000, 8), dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", silence, 384_000)
    del silence
    tracemalloc.start()
    try:
        num_samples = sum(map(len, Recording("a", tmp_path / "a.flac").blocks()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(num_samples - 4_000_000 / 24) <= 2
    assert peak < 12e6  # two blocks of 3.84 MB, one mixed down, one resampled


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (96_000, 2), (48_000, 6)])
def test_samples_do_not_depend_on_the_block_size(tmp_path, monkeypatch, rate, channels):
    speech = noise(12.0 * rate / RATE).reshape(-1, 1) * np.linspace(1, 0.5, channels)
    soundfile.write(tmp_path / "a.wav", speech, rate)
    found = read(Recording("a", tmp_path / "a.wav"))
    monkeypatch.setattr("zipperasr.transcribe.sources.BLOCK_VALUES", 10**9)
    assert np.array_equal(found, read(Recording("a", tmp_path / "a.wav")))


@pytest.mark.parametrize("name", ["a.raw", "B.RAW"])
def test_raw_samples_without_a_header_have_a_reason(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(3200))
    message = f"{name}: raw samples without a header, so rate and channels are unknown; convert it: sox -t raw "
    with pytest.raises(ValueError, match=re.escape(message)):
        read(Recording("a", tmp_path / name))
    with pytest.raises(FileNotFoundError, match=r"c\.raw: no such file"):
        read(Recording("c", tmp_path / "c.raw"))


def test_unreadable_files_have_a_reason(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(ValueError, match=r"a\.wav: cannot be decoded"):
        read(Recording("a", tmp_path / "a.wav"))
    with pytest.raises(FileNotFoundError, match=r"b\.wav: no such file"):
        read(Recording("b", tmp_path / "b.wav"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no audio file in this folder; supported: .*flac"):
        list(find_recordings([str(tmp_path / "empty")]))
    (tmp_path / "wav.scp").write_text("u1 a.wav\nu2 sox a.mp3 -t wav - |\n")
    with pytest.raises(
        ValueError, match=r"wav\.scp:2: 'sox a\.mp3 -t wav - \|' is a command; commands in scp files are not"
    ):
        list(find_recordings([str(tmp_path / "wav.scp")]))


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        (np.nan, "samples that are not a number"),
        (np.inf, "samples that are not a number"),
        (1e18, r"a sample of 1e\+18 times full scale, at most 1e\+10 are read"),
    ],
)
def test_samples_that_features_cannot_be_computed_from_have_a_reason(tmp_path, level, reason):
    samples = np.full(800, level, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    for audio in (tmp_path / "a.wav", samples):
        with pytest.raises(ValueError, match=f"{reason}; check how it was written"):
            list(Recording("a", audio).blocks())


def test_floats_at_the_scale_of_integers_are_read():
    samples = np.full(800, -(2.0**31), dtype=np.float32)
    assert np.array_equal(np.concatenate(list(Recording("a", samples).blocks())), samples)
