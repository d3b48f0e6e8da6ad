"""Lists of noise recordings and room impulse responses: checked entry by entry; parts from drawn places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from zipperasr.audio.recording_list import LONGEST_RESPONSE_S, read_part, read_recordings, read_response

RATE = 16_000


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> str:
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return str(path)


@pytest.fixture
def ramp(tmp_path) -> str:
    """Two seconds whose values say where they are."""
    return write(tmp_path / "my ramp.wav", np.arange(2 * RATE, dtype=np.float32) / (2 * RATE))


def listed(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_list_has_one_path_per_line_and_a_wav_scp_an_id_before_it(tmp_path, ramp):
    assert read_recordings(listed(tmp_path / "noise.txt", ramp, "", ramp), "noise_list") == (ramp, ramp)
    assert read_recordings(listed(tmp_path / "wav.scp", f"n1 {ramp}", f"n2\t{ramp}"), "noise_list") == (ramp, ramp)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.txt", "missing.wav", r"noise_list: .*a\.txt:2: missing\.wav: no such file; 1 of 2 entries are wrong"),
        ("wav.scp", "n1", r"wav\.scp:2: n1: wanted an id and a path"),
        ("a.txt", "a.txt", r"a\.txt:2: a\.txt: cannot be decoded"),
        ("a.txt", "sox a.wav - |", r"a\.txt:2: .*is a command; commands in scp files are not run"),
        ("a.txt", '["a.ark:1",[3,"zero"]]', r"a\.txt:2: .*is a composed clip"),
        ("a.txt", "empty.wav", r"a\.txt:2: empty\.wav: no samples"),
        ("a.txt", "many.wav", r"a\.txt:2: many\.wav: many\.wav: 65 channels, at most 64"),
    ],
)
def test_an_entry_that_cannot_be_read_is_an_error(tmp_path, monkeypatch, ramp, name, line, message):
    monkeypatch.chdir(tmp_path)
    write(Path("empty.wav"), np.zeros(0, np.float32))
    write(Path("many.wav"), np.zeros((100, 65), np.float32))
    good = f"n0 {ramp}" if name.endswith("scp") else ramp
    with pytest.raises(ValueError, match=message):
        read_recordings(listed(Path(name), good, line), "noise_list")


def test_every_missing_file_gets_a_line(tmp_path, capsys):
    path = listed(tmp_path / "rir.txt", "a.wav", "b.wav", "c.wav")
    with pytest.raises(ValueError, match=r"rir\.txt:1: a\.wav: no such file; 3 of 3 entries") as error:
        read_recordings(path, "rir_list")
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("rir_list: ")[2] for line in said] == [
        f"{path}:2: b.wav: no such file",
        f"{path}:3: c.wav: no such file",
    ]
    assert "\n" not in str(error.value)


def test_a_missing_or_empty_list_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"noise_list: .*none\.txt: no such file; wanted a text file with one path"):
        read_recordings(tmp_path / "none.txt", "noise_list")
    with pytest.raises(ValueError, match=r"noise_list: .*e\.txt: no entries; wanted one path per line"):
        read_recordings(listed(tmp_path / "e.txt", ""), "noise_list")


def test_parts_are_cut_from_drawn_places_of_a_longer_recording(ramp):
    rng = np.random.default_rng(0)
    parts = [read_part(ramp, 8000, rng) for _ in range(20)]
    for part in parts:
        assert len(part) == 8000
        np.testing.assert_allclose(np.diff(part), 1 / (2 * RATE), atol=1e-6)
    starts = [part[0] for part in parts]
    assert len(set(starts)) == 20 and min(starts) < 0.15 and max(starts) > 0.6
    again = read_part(ramp, 8000, np.random.default_rng(0))
    assert np.array_equal(again, parts[0])


@pytest.mark.parametrize("num_samples", [2 * RATE, 2 * RATE + 1, 5 * RATE + 3])
def test_a_shorter_recording_is_repeated_from_a_drawn_place(ramp, num_samples):
    part = read_part(ramp, num_samples, np.random.default_rng(1))
    assert len(part) == num_samples and part[0] > 0
    steps = np.diff(part)
    jumps = steps < 0
    assert jumps.sum() in (num_samples // (2 * RATE), num_samples // (2 * RATE) + 1)
    np.testing.assert_allclose(steps[~jumps], 1 / (2 * RATE), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_and_channels_are_read_as_16_khz_mono(tmp_path, rate):
    time = np.arange(3 * rate) / rate
    wave = 0.3 * np.sin(2 * np.pi * 500 * time)
    part = read_part(write(tmp_path / "x.flac", np.stack([wave, wave], 1), rate), RATE, np.random.default_rng(2))
    assert len(part) == RATE
    assert np.abs(np.fft.rfft(part)).argmax() == 500


def test_the_response_is_that_of_the_first_microphone_and_bounded(tmp_path):
    several = np.stack([np.linspace(1, 0, 1000), np.full(1000, -1)], 1).astype(np.float32)
    response = read_response(write(tmp_path / "rir.wav", several))
    assert np.array_equal(response, several[:, 0])
    long = read_response(write(tmp_path / "long.wav", np.ones(10 * RATE, np.float32)))
    assert len(long) == LONGEST_RESPONSE_S * RATE


@pytest.mark.parametrize("read", [lambda path: read_part(path, 10, np.random.default_rng(0)), read_response])
def test_recordings_that_are_no_longer_readable_are_errors(tmp_path, read):
    broken = tmp_path / "x.wav"
    with pytest.raises(ValueError, match=r"x\.wav: samples that are not a number; remove it from its list"):
        read(write(broken, np.full(100, np.nan, np.float32)))
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"x\.wav: cannot be decoded"):
        read(str(broken))
