"""From audio to the features of an encoder: one kind for each family of encoders."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zipperasr.audio.kaldi_fbank import kaldi_fbank
from zipperasr.audio.log_mel import log_mel

LOG_MEL, KALDI = "log_mel", "kaldi"  # Whisper's features; those of w2v-BERT 2.0


@dataclass(frozen=True)
class Frontend:
    """Computes features at 100 frames per second: audio (samples,) at 16 kHz -> (frames, mel_bins)."""

    mel_bins: int
    kind: str = LOG_MEL

    def __call__(self, audio: Tensor, edge_frames: int = 0) -> Tensor:
        """edge_frames: see `log_mel`."""
        if self.kind == KALDI:
            return kaldi_fbank(audio, self.mel_bins)
        return log_mel(audio, self.mel_bins, edge_frames)
