"""Encoder, projector and LLM as one model, and its loss over packed utterances.

In: packed batches (built by zipperasr.batching). Out: the summed cross-entropy, its statistics and its weight, as in
ESPnet; the training loop divides by the number of labels on all ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from zipperasr.audio.segments import cut_all
from zipperasr.lora.injection import LanguageAdapters
from zipperasr.model import packed_llm, ragged
from zipperasr.model.backbones import llm_of
from zipperasr.model.backbones.causal_llm import CausalLLM
from zipperasr.model.backbones.speech_encoder import SpeechEncoder
from zipperasr.model.projector import GatedProjector


class Speech(Protocol):
    """Log-mel frames of all utterances of a batch, end to end."""

    mel: Tensor  # (sum of lengths, mel bins); each utterance has edge_frames more
    lengths: Sequence[int]  # mel frames of each utterance
    languages: Sequence[str]  # of each utterance
    edge_frames: int


class PackedText(Protocol):
    """Prompts, slots for speech, and transcripts of all utterances, end to end."""

    input_ids: Tensor  # (positions,)
    position_ids: Tensor  # (positions,), from 0 in each utterance
    speech_places: Tensor  # positions that hold speech
    label_places: Tensor  # positions that hold labels
    lengths: Sequence[int]  # positions of each utterance


class PackedBatch(Protocol):
    """Input of a forward pass."""

    speech: Speech
    text: PackedText


class SpeechLLM(nn.Module):
    """P(text | prompt, speech) (Eq. 1-5).

    Args:
        encoder: a pretrained speech encoder. projector: maps encoder frames to LLM embeddings.
        llm: a transformers LLM wrapped by PEFT's LoRA, or without LoRA.
        adapters: the language adapters on the encoder; None in the alignment (stage 5).
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        projector: GatedProjector,
        llm: nn.Module,
        adapters: LanguageAdapters | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.llm = llm
        self.adapters = adapters

    @property
    def causal_lm(self) -> nn.Module:
        """The transformers LLM inside PEFT's wrapper."""
        return self.llm.get_base_model() if hasattr(self.llm, "get_base_model") else self.llm

    @property
    def llm_family(self) -> type[CausalLLM]:
        """The family of `causal_lm`, whose functions work on it."""
        return llm_of(self.causal_lm)

    @property
    def adapted_layers(self) -> dict[str, nn.Module]:
        """Adapted layers of the encoder by their name in this module; {} in the alignment."""
        layers = self.adapters.layers if self.adapters is not None else {}
        return {f"encoder.{self.encoder.module_name}.{name}": layer for name, layer in layers.items()}

    def compile_layers(self, backend: str = "inductor") -> None:
        """Compile the LLM's layers with torch.compile, and the encoder's if they have no adapters.

        Layers with adapters would be recompiled for every layer and every number of languages in a batch.
        """
        for layer in self.llm_family.layers(self.causal_lm):
            layer.compile(dynamic=True, backend=backend)
        if self.adapters is None:
            self.encoder.compile_layers(backend)

    def embed_speech(self, speech: Speech, chunk_frames: int | None) -> tuple[Tensor, list[int]]:
        """Encode and project all utterances of a batch.

        chunk_frames: mel frames per chunk; None: full context, in windows of at most 30 s.
        Returns (sum of positions, LLM width) and the positions of each utterance.
        """
        window = self.encoder.max_mel_frames
        longest = min(chunk_frames or window, window)
        segments, per_utterance = cut_all(speech.lengths, longest)
        mel, lengths = speech.mel, segments
        if self.encoder.pad_to_30s:
            mel = pad_segments(mel, speech.lengths, longest, speech.edge_frames, window)
            lengths = [window] * len(segments)
        if self.adapters is not None:
            self.adapters.set_batch(speech.languages, _sum_groups(map(self.encoder.num_frames, lengths), per_utterance))
        hidden, frames = self.encoder(mel, lengths, segments if self.encoder.pad_to_30s else None)
        return self.projector(hidden, _sum_groups(frames, per_utterance), speech.languages)

    def forward(self, batch: PackedBatch, chunk_frames: int | None = None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Returns the cross-entropy summed over labels, {loss, accuracy} per label, and the number of labels."""
        hidden = self._run_text(batch, chunk_frames)
        places = batch.text.label_places
        targets = batch.text.input_ids[places]
        loss, correct = packed_llm.label_loss(hidden[places - 1], self.causal_lm.lm_head, targets)
        weight = torch.tensor(len(targets))
        return loss, {"loss": loss.detach() / weight, "accuracy": correct / weight}, weight

    def packed_logits(self, batch: PackedBatch, chunk_frames: int | None = None) -> Tensor:
        """Logits at every position of every utterance: (positions, vocabulary)."""
        return self.causal_lm.lm_head(self._run_text(batch, chunk_frames))

    def embed_text(self, text: PackedText, speech: Tensor) -> Tensor:
        """Token embeddings with speech inserted at its positions: (positions, LLM width)."""
        embeddings = self.causal_lm.get_input_embeddings()(text.input_ids)
        return embeddings.index_copy(0, text.speech_places, speech.to(embeddings.dtype))

    def _run_text(self, batch: PackedBatch, chunk_frames: int | None) -> Tensor:
        """The LLM's last hidden states: (positions, LLM width)."""
        speech, _ = self.embed_speech(batch.speech, chunk_frames)
        text = batch.text
        layout = ragged.Layout(text.lengths, speech.device)
        return self.llm_family.hidden_states(self.causal_lm, self.embed_text(text, speech), text.position_ids, layout)


def _sum_groups(values: Iterable[int], sizes: Sequence[int]) -> list[int]:
    iterator = iter(values)
    return [sum(next(iterator) for _ in range(size)) for size in sizes]


def pad_segments(mel: Tensor, lengths: Sequence[int], longest: int, edge_frames: int, padded: int) -> Tensor:
    """Cut utterances into segments of at most `longest` mel frames and pad each with silence to `padded` frames.

    The log-mel value of silence is the floor of Whisper's scaling: 8 below the utterance's maximum (before the division
    by 4), or the value of a power of 1e-10.

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
