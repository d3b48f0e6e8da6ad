"""Composed clips: the notation determines the samples, reading is repeatable, and other entries are not composed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from zipperasr.audio.clips import BACKGROUND, LONGEST_SILENCE, ZERO, Silence, composed_entry, load_clip
from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.text_lines import refuse_composed


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    """Two recordings of 1 and 0.5 s: loud noise, with 0.3 s of a quiet hum in the middle of the first."""
    rng = np.random.default_rng(1)
    names = []
    for number, seconds in enumerate((1.0, 0.5)):
        samples = rng.normal(0, 0.1, int(seconds * SAMPLE_RATE))
        if number == 0:
            samples[6400:11200] = 1e-3 * np.sin(2 * np.pi * 400 * np.arange(4800) / SAMPLE_RATE)
        names.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(names[-1], samples, SAMPLE_RATE, subtype="FLOAT")
    return names


def test_recordings_and_silence_follow_each_other_to_the_sample(recordings):
    first, second = recordings
    entry = composed_entry([Silence(800, ZERO), first, Silence(1600, -40.0), second])
    assert entry == f'[[800,"zero"],"{first}",[1600,-40.0],"{second}"]'

    clip = load_clip(entry)

    assert clip.dtype == np.float32 and len(clip) == 800 + 16_000 + 1600 + 8000
    assert not clip[:800].any()
    assert np.array_equal(clip[800:16_800], load_audio(first)) and np.array_equal(clip[-8000:], load_audio(second))


def test_a_plain_entry_is_one_recording(recordings):
    assert np.array_equal(load_clip(recordings[0]), load_audio(recordings[0]))


def test_white_noise_has_the_level_of_the_entry(recordings):
    noise = load_clip(composed_entry([recordings[0], Silence(SAMPLE_RATE, -52.5)]))[SAMPLE_RATE:]
    assert 10 * np.log10(np.square(noise).mean()) == pytest.approx(-52.5, abs=0.2)


@pytest.mark.parametrize("before", [True, False])
def test_background_noise_sounds_like_the_quietest_part_of_the_recording_beside_it(recordings, before):
    parts = [Silence(SAMPLE_RATE, BACKGROUND), recordings[0]]
    clip = load_clip(composed_entry(parts if before else parts[::-1]))
    noise = clip[:SAMPLE_RATE] if before else clip[-SAMPLE_RATE:]
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1e-3 / np.sqrt(2), rel=0.15)
    assert np.abs(np.fft.rfft(noise)).argmax() == pytest.approx(400, abs=5)


def test_background_noise_of_digital_silence_is_silent(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(9600), SAMPLE_RATE)
    assert not load_clip(composed_entry([str(tmp_path / "a.wav"), Silence(3201, BACKGROUND)])).any()


@pytest.mark.parametrize("kind", [-45.0, BACKGROUND])
def test_noise_is_the_same_every_time_and_differs_between_clips(recordings, kind):
    one = composed_entry([recordings[1], Silence(4000, kind)])
    other = composed_entry([recordings[1], Silence(4001, kind)])
    assert np.array_equal(load_clip(one), load_clip(one))
    assert not np.array_equal(load_clip(one)[8000:12_000], load_clip(other)[8000:12_000])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('["a.wav",[1,"zero"]', "Error opening 'a.wav'|not a composed clip"),
        ('["a.wav"}]', r"not a composed clip .*; rerun stage 3"),
        ('[[5,"zero"]]', "no recording in the clip; rerun stage 3"),
        ('["a.wav",[5,"pink"]]', r'got \[5, "pink"\], wanted \[samples, zero, background or dB up to 0\]'),
        ('["a.wav",[5,1.5]]', r"got \[5, 1.5\], wanted"),
        ('["a.wav",[5,NaN]]', r"got \[5, NaN\], wanted"),
        ('["a.wav",[-5,"zero"]]', r'got \[-5, "zero"\], wanted'),
        (f'["a.wav",[{LONGEST_SILENCE + 1},"zero"]]', "with at most 960,000 samples"),
        ('["a.wav",{"silence":5}]', r'got \{"silence": 5\}, wanted'),
        (json.dumps(["a.wav", [["b.wav"]]]), r'got \[\["b.wav"\]\], wanted'),
        ("[" * 100_000 + "]", "not a composed clip"),
    ],
)
def test_a_malformed_clip_says_what_is_wrong(entry, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_clip(entry)


def test_a_clip_in_a_table_of_recordings_is_refused(recordings):
    clip = composed_entry(recordings)
    for read in (load_audio, lambda entry: refuse_composed(entry, "wav.scp"), lambda entry: load_clip(f'["{entry}"]')):
        with pytest.raises((ValueError, OSError)):
            read(clip)
    with pytest.raises(ValueError, match=r"wav\.scp: '\[\".*is a composed clip of a manifest; enter one recording"):
        load_audio(clip)
    assert refuse_composed("[a].wav", "wav.scp") == "[a].wav"
