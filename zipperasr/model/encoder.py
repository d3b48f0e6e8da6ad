"""Whisper's encoder over ragged batches: segments of any length side by side, padded to 30 s only on request.

In: log-mel frames of all segments, end to end. Out: encoder frames, two mel frames each. The weights and layers
are transformers' WhisperEncoder; its forward is not used, because it insists on 3000 mel frames and masks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from zipperasr.model import ragged

LORA_TARGETS = ("layers.*.self_attn.*_proj", "layers.*.fc1", "layers.*.fc2")  # all linear layers


class SpeechEncoder(nn.Module):
    """Encodes every segment as if it were alone.

    Args:
        whisper: the encoder of a WhisperModel.
        checkpointing: recompute each layer in the backward pass instead of keeping its activations.
        pad_to_30s: the model pads every segment (`pad_segments`) before it is encoded.
    """

    def __init__(self, whisper: WhisperEncoder, checkpointing: bool = False, pad_to_30s: bool = False):
        super().__init__()
        self.whisper = whisper
        self.checkpointing = checkpointing
        self.pad_to_30s = pad_to_30s
        self._layer_forward = _layer_forward

    def compile_layers(self, backend: str) -> None:
        """Let torch.compile fuse what lies between the layers' attentions."""
        self._layer_forward = torch.compile(_layer_forward, dynamic=True, backend=backend)

    @property
    def width(self) -> int:
        return self.whisper.config.d_model

    @property
    def mel_bins(self) -> int:
        return self.whisper.config.num_mel_bins

    @property
    def max_mel_frames(self) -> int:
        """The longest segment that Whisper has positions for (30 s)."""
        return 2 * self.whisper.config.max_source_positions

    def forward(
        self, mel: Tensor, lengths: Sequence[int], kept: Sequence[int] | None = None
    ) -> tuple[Tensor, list[int]]:
        """mel: (sum of lengths, mel bins), lengths: mel frames of each segment.

        kept: mel frames of each segment whose output is wanted, from its start; None: all.
        Returns the encoder's output (sum of frames, d_model) and the frames of each segment, ceil(length / 2).
        Raises ValueError for an empty segment or one of more than 30 s.
        """
        if min(lengths) < 1 or max(lengths) > self.max_mel_frames:
            raise ValueError(
                f"segments of {min(lengths)} to {max(lengths)} mel frames; wanted 1 to {self.max_mel_frames}"
            )
        frames = [(length + 1) // 2 for length in lengths]
        mel = mel.to(self.whisper.conv1.weight.dtype)
        hidden = self._convolve(mel, lengths, frames)
        hidden = hidden + self.whisper.embed_positions.weight[ragged.positions(frames, mel.device)]
        layout = ragged.Layout(frames, mel.device)
        for layer in self.whisper.layers:
            if self.checkpointing and self.training:
                hidden = checkpoint(
                    self._layer_forward, layer, hidden, layout, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden = self._layer_forward(layer, hidden, layout)
        if kept is not None:
            spaces, frames = frames, [(length + 1) // 2 for length in kept]
            hidden = hidden[ragged.slots(frames, spaces, mel.device)]
        return self.whisper.layer_norm(hidden), frames

    def _convolve(self, mel: Tensor, lengths: Sequence[int], frames: Sequence[int]) -> Tensor:
        """Both convolutions over all segments at once; a gap of zeros keeps neighbours apart.

        Each segment gets an even room with at least one empty place, so the second convolution (stride 2)
        starts every segment on its first frame and sees zeros beyond both ends, as Whisper's padding gives it.
        """
        rooms = [2 * count + 2 for count in frames]
        spaced = ragged.spread(mel, lengths, rooms)
        inside = ragged.spread(mel.new_ones(len(mel), 1), lengths, rooms)
        hidden = functional.gelu(self.whisper.conv1(spaced.T[None]))
        hidden = functional.gelu(self.whisper.conv2(hidden * inside.T))[0].T
        return hidden[ragged.slots(frames, [room // 2 for room in rooms], mel.device)]


def pad_segments(mel: Tensor, lengths: Sequence[int], longest: int, edge_frames: int, padded: int) -> Tensor:
    """Cut utterances into segments of at most `longest` mel frames and pad each with silence to `padded` frames.

    The log-mel value of silence is the floor that Whisper's scaling clamps to: 8 below the utterance's maximum (before
    the division by 4), or that of a power of 1e-10.

    mel: (sum of lengths, mel bins), each utterance followed by its edge_frames, which its last segment keeps.
    Returns (segments * padded, mel bins).
    """
    rows = []
    for utterance in mel.split([length + edge_frames for length in lengths]):
        silence = (utterance.amax() - 8 / 4).clamp(min=(-10 + 4) / 4)
        segments = list(utterance[: len(utterance) - edge_frames].split(longest))
        segments[-1] = utterance[(len(segments) - 1) * longest :][:padded]
        for segment in segments:
            rows += [segment, silence.expand(padded - len(segment), mel.shape[1])]
    return torch.cat(rows)


def _layer_forward(layer: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
    """One pre-norm WhisperEncoderLayer on ragged frames (n, d_model)."""
    attention = layer.self_attn
    normed = layer.self_attn_layer_norm(hidden)
    query, key, value = (
        projection(normed).unflatten(-1, (attention.num_heads, -1))
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = ragged.self_attention(query, key, value, layout, attention.scaling)
    hidden = hidden + attention.out_proj(mixed.flatten(1))
    normed = layer.final_layer_norm(hidden)
    return hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))
