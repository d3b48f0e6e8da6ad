"""Which language is spoken, by the original Whisper: the tuned encoder no longer fits its decoder.

In: up to 30 s of speech. Out: a probability for each language of the model. It is a second encoder, and a decoder, in
memory; what they cost is counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import WhisperModel

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.log_mel import log_mel
from zipperasr.device import to_device
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones import load_backbone
from zipperasr.model.encoder import SpeechEncoder
from zipperasr.model.pretrained import Pretrained


@dataclass
class Cost:
    """What detection has taken so far."""

    load_s: float = 0.0
    detect_s: float = 0.0
    memory_gb: float = 0.0  # of the weights
    recordings: int = 0

    def described(self) -> str:
        return (
            f"language detection: Whisper takes {self.memory_gb:.2f} GB more; loaded in {self.load_s:.1f} s, "
            f"{1000 * self.detect_s / max(1, self.recordings):.0f} ms a recording"
        )


class LanguageDetector:
    """Whisper's own language detection, among the languages that the model was trained with.

    A language whose Whisper token is another's stand-in shares that one's probability.
    """

    def __init__(self, opened: Pretrained):
        start = time.monotonic()
        model = opened.model.causal_lm
        settings = opened.experiment.model
        self.codes = opened.languages.codes
        self._ids = language_token_ids(settings.whisper, opened.languages)
        whisper = load_backbone(WhisperModel, settings.whisper, model.dtype).to(model.device).eval()
        self._encoder, self._decoder = SpeechEncoder(whisper.encoder), whisper.decoder
        self._mel_bins, self._padding = settings.mel_bins, int(settings.lid_window_s * SAMPLE_RATE)
        # on the device once: a list as an index, or a tensor made there from one, makes the host wait each time
        self._prefix = torch.tensor([[whisper.config.decoder_start_token_id]], device=model.device)
        shared = torch.tensor([self._ids.count(token_id) for token_id in self._ids], device=model.device)
        self._log_shared = shared.log()
        self._rows = torch.tensor(self._ids, device=model.device)
        weights = sum(parameter.numel() * parameter.element_size() for parameter in whisper.parameters())
        self.cost = Cost(load_s=time.monotonic() - start, memory_gb=weights / 1e9)

    @torch.inference_mode()
    def __call__(self, samples: Tensor) -> dict[str, float]:
        """samples: (num_samples,) of 16 kHz speech, of which the first 30 s count. Probabilities by code, sum 1."""
        start = time.monotonic()
        longest = self._encoder.max_mel_frames * SAMPLE_RATE // 100
        samples = samples[:longest]
        padded = functional.pad(samples, (0, max(0, self._padding - len(samples))))
        padded = to_device(padded, self._decoder.embed_tokens.weight.device)
        mel = log_mel(padded, self._mel_bins)[: self._encoder.max_mel_frames]
        hidden, _ = self._encoder(mel, [len(mel)])
        decoded = self._decoder(input_ids=self._prefix, encoder_hidden_states=hidden[None], use_cache=False)
        state = decoded.last_hidden_state[0, -1]
        logits = (self._decoder.embed_tokens.weight[self._rows] @ state).float()
        probabilities = (logits - self._log_shared).softmax(0).tolist()
        self.cost.detect_s += time.monotonic() - start
        self.cost.recordings += 1
        return dict(zip(self.codes, probabilities, strict=True))
