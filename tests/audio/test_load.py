import resource
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from tests.corpora.example import write_noise
from zipperasr.audio.kaldi_fbank import kaldi_fbank
from zipperasr.audio.load import (
    LOUDEST,
    SAMPLE_RATE,
    OutOfBounds,
    load_audio,
    read_excerpt,
    sample_fault,
    to_16k_mono,
    to_int16,
)
from zipperasr.audio.log_mel import log_mel


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_flac_at_16_khz_is_read_bit_for_bit(tmp_path: Path):
    samples = to_int16(tone(0.5, SAMPLE_RATE))
    soundfile.write(tmp_path / "a.flac", samples, SAMPLE_RATE)

    audio = load_audio(tmp_path / "a.flac")

    assert audio.dtype == np.float32 and np.array_equal(to_int16(audio), samples)


def test_ark_entry_is_read_as_kaldiio_reads_it(tmp_path: Path):
    ark, scp = tmp_path / "a.ark", tmp_path / "a.scp"
    arrays = {f"utt{n}": (SAMPLE_RATE, to_int16(tone(0.2, SAMPLE_RATE, 200.0 * n))) for n in (1, 2)}
    kaldiio.save_ark(str(ark), arrays, scp=str(scp), write_function="soundfile", write_kwargs={"format": "flac"})
    entry = scp.read_text().splitlines()[1].split()[1]

    assert np.allclose(load_audio(entry), kaldiio.load_mat(entry)[1])
    assert np.array_equal(to_int16(load_audio(entry)), arrays["utt2"][1])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_resampled_to_16_khz_with_the_same_length_and_pitch(rate: int):
    audio = to_16k_mono(tone(1.0, rate), rate)

    assert len(audio) == pytest.approx(SAMPLE_RATE, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(audio))) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("value", [1e11, -1e20, np.nan, np.inf])
def test_samples_that_give_no_features_are_refused(tmp_path: Path, value: float):
    samples = tone(0.5, SAMPLE_RATE)
    samples[100] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(OutOfBounds, match=r"a\.wav: (a sample of|samples that are not a number)"):
        load_audio(tmp_path / "a.wav")


def test_log_mel_of_the_loudest_samples_is_finite():
    loudest = torch.full((16_000,), LOUDEST) * torch.tensor([1.0, -1.0]).repeat(8000)
    assert sample_fault(loudest.numpy()) == ""
    assert log_mel(loudest, 80).isfinite().all() and log_mel(loudest.abs(), 80).isfinite().all()
    assert kaldi_fbank(loudest, 80).isfinite().all()


def test_channels_are_averaged():
    left = tone(0.1, SAMPLE_RATE)

    assert np.allclose(to_16k_mono(np.stack([left, np.zeros_like(left)], axis=1), SAMPLE_RATE), left / 2)


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".ogg", ".wav"])
def test_other_codecs_are_read(tmp_path: Path, suffix: str):
    write_noise(tmp_path / f"a{suffix}", 1.0, rate=48_000)

    assert len(load_audio(tmp_path / f"a{suffix}")) == pytest.approx(SAMPLE_RATE, abs=1_500)


def test_excerpts_of_a_long_recording_have_exact_boundaries(tmp_path: Path):
    samples = write_noise(tmp_path / "long.flac", 3.0)[:, 0]
    with soundfile.SoundFile(tmp_path / "long.flac") as recording:
        later = read_excerpt(recording, 1.25, 2.0)
        earlier = read_excerpt(recording, 0.5, 1.0)
        assert len(read_excerpt(recording, 9.0, 10.0)) == 0

    assert np.allclose(later, samples[20_000:32_000], atol=1e-4)
    assert np.allclose(earlier, samples[8_000:16_000], atol=1e-4)


def test_excerpt_of_opus_starts_at_the_right_sample(tmp_path: Path):
    silence, beep = np.zeros(SAMPLE_RATE, dtype=np.float32), tone(1.0, SAMPLE_RATE)
    soundfile.write(tmp_path / "a.opus", np.concatenate([silence, beep, silence]), SAMPLE_RATE, "OPUS", format="OGG")
    with soundfile.SoundFile(tmp_path / "a.opus") as recording:
        inside, after = read_excerpt(recording, 1.1, 1.9), read_excerpt(recording, 2.2, 2.9)

    assert inside.std() > 0.3 and after.std() < 0.01


def test_full_scale_is_clipped_instead_of_wrapping_around():
    assert to_int16(np.array([1.5, -1.5, 0.0])).tolist() == [32767, -32768, 0]


def test_undecodable_and_empty_files_are_errors(tmp_path: Path):
    (tmp_path / "broken.flac").write_bytes(b"fLaC nothing else")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32), SAMPLE_RATE)

    with pytest.raises(ValueError, match=r"broken.flac: cannot be decoded .*rerun stage 2"):
        load_audio(tmp_path / "broken.flac")
    with pytest.raises(ValueError, match=r"empty.wav: no samples"):
        load_audio(tmp_path / "empty.wav")


def test_a_header_with_too_many_samples_allocates_no_memory_for_them(tmp_path: Path):
    path = tmp_path / "a.flac"
    write_noise(path, 0.5)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the number of samples is stored in the last 36 bits of these 8 bytes
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert soundfile.info(path).frames == 2**36 - 1
    resource.setrlimit(resource.RLIMIT_AS, (64 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        with pytest.raises(ValueError, match=r"a.flac: cannot be decoded"):
            load_audio(path)
        with soundfile.SoundFile(path) as recording, pytest.raises(soundfile.LibsndfileError):
            read_excerpt(recording, 0.25, None)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def test_implausible_rates_and_channels_are_rejected_before_decoding(tmp_path: Path):
    for name, rate, channels in (("slow", 10, 1), ("fast", 655_350, 1), ("wide", 16_000, 65)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((40, channels), dtype=np.float32), rate)
    with pytest.raises(ValueError, match=r"slow.wav: sampling rate 10 Hz, wanted 1000 to 384000 Hz; resample it"):
        load_audio(tmp_path / "slow.wav")
    with pytest.raises(ValueError, match=r"fast.wav: sampling rate 655350 Hz, wanted 1000 to 384000 Hz"):
        load_audio(tmp_path / "fast.wav")
    with pytest.raises(ValueError, match=r"wide.wav: 65 channels, at most 64 are read; mix it down to mono"):
        load_audio(tmp_path / "wide.wav")


def test_espnet_is_not_imported():
    import subprocess
    import sys

    code = "import sys, zipperasr.audio.load; print(any(name.startswith('espnet') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
