"""Augment the utterances of training batches.

In: configuration, seed, lists of recordings. Out: changed audio, and masks for its features. What happens to an
utterance is a function of (seed, step, its place in the global batch): workers, processes and restarts do not matter.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zipperasr.audio.augment import add_noise, change_speed, noise, reverberate, room_response, telephone
from zipperasr.audio.recording_list import read_part, read_recordings, read_response
from zipperasr.audio.spec_augment import NO_MASKS, Masks, draw_masks
from zipperasr.batching.augment_config import AugmentConfig


@dataclass(frozen=True)
class Augmenter:
    """Augments the utterances of one training."""

    config: AugmentConfig
    seed: int
    recordings: dict[str, tuple[str, ...]] = field(default_factory=dict)  # entries of `config.lists`

    @classmethod
    def make(cls, config: AugmentConfig, seed: int, mel_bins: int) -> Augmenter | None:
        """Read and check the lists; None if nothing is augmented. mel_bins: of the model. Raises ValueError."""
        if not config.active:
            return None
        if config.spec and config.freq_width > mel_bins:
            raise ValueError(
                f"augment.freq_width: got {config.freq_width}, wanted at most {mel_bins}, the mel_bins of model.yaml"
            )
        return cls(config, seed, {key: read_recordings(Path(path), key) for key, path in config.lists.items()})

    def utterance(self, step: int, pack: int, place: int, speed: float) -> AugmentedUtterance:
        """How an utterance is changed: that at `place` in a pack of the global batch, at the speed that was packed."""
        drawn = random.Random(f"augment {self.seed} {step} {pack} {place}")
        return AugmentedUtterance(self.config, self.recordings, speed, np.random.default_rng(drawn.getrandbits(64)))


@dataclass(frozen=True)
class AugmentedUtterance:
    """The changes of one utterance, to be called once and in this order."""

    config: AugmentConfig
    recordings: dict[str, tuple[str, ...]]
    speed: float
    rng: np.random.Generator

    def audio(self, samples: np.ndarray) -> np.ndarray:
        """Change samples: (n,) -> (changed_length(n, speed),)."""
        samples = change_speed(samples, self.speed)
        if self._happens(self.config.reverb):
            samples = reverberate(samples, self._response())
        if self._happens(self.config.noise):
            samples = add_noise(samples, self._noise(len(samples)), self._between(self.config.snr_db))
        return telephone(samples) if self._happens(self.config.telephone) else samples

    def masks(self, num_frames: int, mel_bins: int) -> Masks:
        """Draw masks for features (num_frames, mel_bins); there may be none."""
        if not self._happens(self.config.spec):
            return NO_MASKS
        return draw_masks(num_frames, mel_bins, self.config.masks, self.rng)

    def _happens(self, share: float) -> bool:
        return self.rng.random() < share

    def _between(self, bounds: tuple[float, ...]) -> float:
        low, high = bounds
        return self.rng.uniform(low, high)

    def _response(self) -> np.ndarray:
        if recorded := self.recordings.get("rir_list"):
            return read_response(recorded[self.rng.integers(len(recorded))])
        rt60_s, direct_db = self._between(self.config.rt60_s), self._between(self.config.direct_db)
        return room_response(rt60_s, direct_db, self.rng)

    def _noise(self, num_samples: int) -> np.ndarray:
        if recorded := self.recordings.get("noise_list"):
            return read_part(recorded[self.rng.integers(len(recorded))], num_samples, self.rng)
        kinds = self.config.noise_kinds
        return noise(kinds[self.rng.integers(len(kinds))], num_samples, self.rng)
