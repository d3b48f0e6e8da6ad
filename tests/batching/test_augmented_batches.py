"""Augmented batches: the same for any number of workers, processes and restarts; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.model import tiny
from zipperasr.audio.augment import speech_power
from zipperasr.audio.clips import load_clip
from zipperasr.audio.log_mel import log_mel
from zipperasr.audio.segments import EDGE_FRAMES
from zipperasr.batching.augment_config import AugmentConfig
from zipperasr.batching.augmenter import Augmenter
from zipperasr.batching.loader import ExampleReader, MicroBatches, TrainingPlan, prefetched
from zipperasr.batching.manifest import open_kind
from zipperasr.languages import LanguageTable

MAX = 72
SPEEDS = (0.9, 1.0, 1.1)
MASKS = {"freq_width": 3, "time_width": 40, "time_share": 0.5}
EACH = {  # one augmentation at a time
    "speed": AugmentConfig(speed=SPEEDS),
    "reverb": AugmentConfig(reverb=0.7),
    "noise": AugmentConfig(noise=0.7),
    "telephone": AugmentConfig(telephone=0.7),
    "spec": AugmentConfig(spec=1.0, **MASKS),
}
ALL = AugmentConfig(speed=SPEEDS, reverb=0.5, noise=0.5, telephone=0.5, spec=1.0, **MASKS)
WAVES = AugmentConfig(speed=SPEEDS, reverb=0.5, noise=0.5, telephone=0.5)


@pytest.fixture(scope="module")
def manifests(noise_recipe):
    return open_kind(noise_recipe / "dump" / "manifest", "train")


@pytest.fixture(scope="module")
def table(noise_recipe):
    return LanguageTable.load(noise_recipe / "conf" / "languages.tsv")


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> AugmentConfig:
    """Everything, with recorded noise and a recorded impulse response."""
    base = tmp_path_factory.mktemp("lists")
    for number, length in enumerate((5_000, 40_000)):
        soundfile.write(base / f"n{number}.wav", tiny.noise(length, number).numpy(), 16_000)
    soundfile.write(base / "room.flac", np.exp(-np.arange(800) / 100), 16_000)
    (base / "noise.txt").write_text(f"{base}/n0.wav\n{base}/n1.wav\n")
    (base / "wav.scp").write_text(f"room {base}/room.flac\n")
    lists = {"noise_list": f"{base}/noise.txt", "rir_list": f"{base}/wav.scp"}
    return AugmentConfig(speed=SPEEDS, reverb=0.5, noise=0.5, telephone=0.5, spec=1.0, **MASKS, **lists)


def plan(manifests, config: AugmentConfig, epochs: int = 2) -> TrainingPlan:
    return TrainingPlan.make(manifests, MAX, packs_per_step=4, epochs=epochs, seed=1, speeds=config.speeds)


def batches(manifests, table, config: AugmentConfig, *share: int, seed: int = 1, **reader) -> MicroBatches:
    read = ExampleReader(tiny.llm_tokenizer(), table, tiny.FRONTEND, **reader)
    augmenter = Augmenter.make(config, seed, tiny.MEL_BINS)
    return MicroBatches(manifests, plan(manifests, config).batches, read, *share, augmenter=augmenter)


def assert_equal(one, other):
    assert one.utt_ids == other.utt_ids
    assert one.speech.lengths == other.speech.lengths and one.num_samples == other.num_samples
    assert torch.equal(one.speech.to("cpu").mel, other.speech.to("cpu").mel)
    for name in ("input_ids", "position_ids", "speech_places", "label_places"):
        assert torch.equal(getattr(one.text, name), getattr(other.text, name))


def features(batch) -> dict[str, list[torch.Tensor]]:
    """The features of each utterance of a batch; utterances may occur several times."""
    found: dict[str, list[torch.Tensor]] = {}
    for utt_id, mel in zip(batch.utt_ids, batch.speech.mel.split(batch.speech.lengths), strict=True):
        found.setdefault(utt_id, []).append(mel)
    return found


def test_an_inactive_configuration_gives_the_batches_of_none(manifests, table):
    off = AugmentConfig(speed=(1.0,), snr_db=(0.0, 1.0))
    plain = TrainingPlan.make(manifests, MAX, packs_per_step=4, epochs=2, seed=1)
    assert list(plan(manifests, off).batches) == list(plain.batches)
    without = MicroBatches(manifests, plain.batches, ExampleReader(tiny.llm_tokenizer(), table, tiny.FRONTEND))
    for one, other in zip(batches(manifests, table, off), without, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("name", EACH)
def test_each_augmentation_changes_the_features_and_only_speed_their_number(manifests, table, name):
    augmented, plain = (batches(manifests, table, config)[0] for config in (EACH[name], AugmentConfig()))
    if name == "speed":
        assert len({length for length in augmented.speech.lengths} - set(plain.speech.lengths)) > 3
        return
    assert augmented.speech.lengths == plain.speech.lengths
    assert torch.equal(augmented.text.input_ids, plain.text.input_ids)
    pairs = zip(*(batch.speech.mel.split(batch.speech.lengths) for batch in (augmented, plain)), strict=True)
    changed = [not torch.equal(one, other) for one, other in pairs]
    assert all(changed) if name == "spec" else 0 < sum(changed) < len(changed)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_gets_the_same_items(manifests, table, listed, num_workers):
    data = batches(manifests, table, listed)
    from_start = list(prefetched(data, 0, 0))
    for one, other in zip(from_start[3:], prefetched(data, 3, num_workers), strict=True):
        assert_equal(one, other)


def test_the_processes_share_the_batch_of_one(manifests, table, listed):
    whole = batches(manifests, table, listed)
    shares = [batches(manifests, table, listed, rank, 2) for rank in range(2)]
    for step in range(len(whole)):
        assert torch.equal(whole[step].speech.mel, torch.cat([share[step].speech.mel for share in shares]))
        assert whole[step].utt_ids == (*shares[0][step].utt_ids, *shares[1][step].utt_ids)


def test_steps_epochs_and_seeds_differ(manifests, table):
    config = EACH["noise"]
    one, other = (features(batches(manifests, table, config, seed=seed)[0]) for seed in (1, 2))
    assert any(
        not torch.equal(mel, theirs) for utt_id in one for mel, theirs in zip(one[utt_id], other[utt_id], strict=True)
    )
    data, plain = batches(manifests, table, AugmentConfig(noise=1.0)), batches(manifests, table, AugmentConfig())
    seen: dict[str, list[torch.Tensor]] = {}
    for batch in data:
        for utt_id, mels in features(batch).items():
            seen.setdefault(utt_id, []).extend(mels)
    assert len(plain) == len(data) and all(len(mels) >= 2 for mels in seen.values())
    for mels in seen.values():
        assert not any(torch.equal(mels[0], mel) for mel in mels[1:]), "each occurrence is augmented anew"


@pytest.mark.parametrize("edge_frames", [0, EDGE_FRAMES])
def test_features_computed_on_the_device_have_the_same_masks(manifests, table, edge_frames):
    here, there = (
        batches(manifests, table, ALL, features=features, edge_frames=edge_frames) for features in (True, False)
    )
    assert there[0].speech.mel is None and len(there[0].speech.masks) == len(there[0].speech.lengths)
    for one, other in zip(here, there, strict=True):
        assert_equal(one, other)
        assert other.speech.to("cpu").masks == ()


def test_outside_the_masks_features_do_not_change(manifests, table):
    masked, plain = (batches(manifests, table, config, features=False) for config in (EACH["spec"], AugmentConfig()))
    for one, other in zip(masked, plain, strict=True):
        mels = [batch.to("cpu").speech.mel.split(batch.speech.lengths) for batch in (one, other)]
        for mine, theirs, masks in zip(*mels, one.speech.masks, strict=True):
            inside = torch.zeros_like(mine, dtype=torch.bool)
            for start, stop in masks.bins:
                inside[:, start:stop] = True
            for start, stop in masks.frames:
                inside[start:stop] = True
            assert torch.equal(mine[~inside], theirs[~inside])
            torch.testing.assert_close(mine[inside], theirs.mean().expand(int(inside.sum())))


def test_the_loader_resamples_to_the_samples_that_packing_counted(manifests, table):
    data = batches(manifests, table, AugmentConfig(speed=SPEEDS, noise=0.5, reverb=0.5, telephone=0.5))
    for step, packs in enumerate(data.batches):
        batch = data[step]
        assert batch.num_samples == sum(pack.num_samples for pack in packs)
        assert sum(batch.text.lengths) == sum(pack.positions for pack in packs)
        assert all(pack.positions <= MAX for pack in packs)
        assert len(batch.text.label_places) == sum(pack.num_tokens for pack in packs)


def test_the_features_are_those_of_the_augmented_audio(manifests, table):
    """Recomputed from the audio of the manifest by the augmenter alone."""
    data = batches(manifests, table, ALL, features=False)
    packs = sorted(data.batches[0], key=lambda pack: (pack.language, pack.rows))
    wanted = []
    for place, pack in enumerate(packs):
        for index, ((number, row), speed) in enumerate(zip(pack.rows, pack.speeds, strict=True)):
            utterance = Augmenter.make(ALL, 1, tiny.MEL_BINS).utterance(0, place, index, speed)
            wanted.append(utterance.audio(load_clip(manifests[number].row(row)["audio"])))
    found = data[0].speech.audio
    assert all(np.array_equal(one.numpy(), other) for one, other in zip(found, wanted, strict=True))
    mel = torch.cat([log_mel(one, tiny.MEL_BINS) for one in found])
    waves = batches(manifests, table, WAVES)[0].speech.mel
    assert torch.equal(waves, mel), "spec is drawn last, so that it does not change the audio"


def test_silence_is_removed_from_the_augmented_audio(manifests, table):
    data = batches(manifests, table, WAVES, trim_silence=True)
    for step, packs in enumerate(data.batches):
        assert sum(data[step].text.lengths) <= sum(pack.positions for pack in packs)


def test_generated_noise_has_levels_between_the_bounds():
    config, speech = AugmentConfig(noise=1.0, snr_db=(5.0, 20.0)), tiny.noise(16_000, 1).numpy()
    snr_db = []
    for place in range(100):
        mixed = Augmenter(config, 1).utterance(0, 0, place, 1.0).audio(speech)
        difference = np.square(mixed - speech, dtype=np.float64).mean()
        snr_db.append(10 * np.log10(speech_power(speech) / difference))
    assert 5 - 1e-3 <= min(snr_db) < 7 and 18 < max(snr_db) <= 20 + 1e-3


@pytest.mark.parametrize("name", ["reverb", "noise", "telephone"])
def test_the_share_of_changed_utterances_is_the_one_asked_for(name):
    speech = tiny.noise(2_000, 1).numpy()
    augmenter = Augmenter(EACH[name], 1)
    changed = sum(augmenter.utterance(0, 0, place, 1.0).audio(speech) is not speech for place in range(400))
    assert changed / 400 == pytest.approx(0.7, abs=0.07)


def test_a_recording_that_disappears_is_named(tmp_path):
    recording = tmp_path / "n.wav"
    soundfile.write(recording, np.ones(100), 16_000)
    (tmp_path / "noise.txt").write_text(f"{recording}\n")
    augmenter = Augmenter.make(AugmentConfig(noise=1.0, noise_list=str(tmp_path / "noise.txt")), 1, 8)
    Path(recording).unlink()
    with pytest.raises((ValueError, OSError), match=r"n\.wav"):
        augmenter.utterance(0, 0, 0, 1.0).audio(tiny.noise(1000, 1).numpy())
