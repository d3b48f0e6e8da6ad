"""Language detection with the original pretrained encoder and decoder; the decoder does not fit a fine-tuned encoder.

In: up to 30 s of speech. Out: a probability for each language of the model. The second encoder and the decoder cost
memory and time, which `Cost` records.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.log_mel import log_mel
from zipperasr.device import to_device
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones import find_languages


@dataclass
class Cost:
    """What detection has cost so far."""

    load_s: float = 0.0
    detect_s: float = 0.0
    memory_gb: float = 0.0  # of the weights
    recordings: int = 0

    def described(self) -> str:
        return (
            f"language detection: Whisper needs another {self.memory_gb:.2f} GB; loaded in {self.load_s:.1f} s, "
            f"{1000 * self.detect_s / max(1, self.recordings):.0f} ms per recording"
        )


class LanguageDetector:
    """Whisper's own language detection, among the languages that the model was trained with.

    Languages that use the same Whisper token share its probability equally.
    """

    def __init__(self, opened: Pretrained):
        start = time.monotonic()
        model = opened.model.causal_lm
        settings = opened.experiment.model
        self.codes = opened.languages.codes
        path = settings.languages_from
        self._ids = language_token_ids(path, opened.languages)
        self._source = find_languages(path).load(path, model.dtype).to(model.device)
        self._padding = int(settings.lid_window_s * SAMPLE_RATE)
        # copied to the device once: indexing with a list would block the host every time
        self._rows = torch.tensor(self._ids, device=model.device)
        shared = torch.tensor([self._ids.count(token_id) for token_id in self._ids], device=model.device)
        self._log_shared = shared.log()
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self._source.parameters())
        self.cost = Cost(load_s=time.monotonic() - start, memory_gb=weights / 1e9)

    @torch.inference_mode()
    def __call__(self, samples: Tensor) -> dict[str, float]:
        """samples: (num_samples,) of 16 kHz speech, first 30 s used. Returns probabilities by code; sum 1.

        Raises ValueError if they are not numbers.
        """
        start = time.monotonic()
        longest = self._source.max_mel_frames * SAMPLE_RATE // 100
        samples = samples[:longest]
        padded = functional.pad(samples, (0, max(0, self._padding - len(samples))))
        padded = to_device(padded, self._rows.device)
        mel = log_mel(padded, self._source.mel_bins)[: self._source.max_mel_frames]
        logits = self._source.language_logits(mel, self._rows)
        probabilities = (logits - self._log_shared).softmax(0).tolist()
        self.cost.detect_s += time.monotonic() - start
        self.cost.recordings += 1
        if not all(map(math.isfinite, probabilities)):
            raise ValueError("language detection: Whisper's output is not a number; set the language")
        return dict(zip(self.codes, probabilities, strict=True))
