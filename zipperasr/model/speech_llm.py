"""Encoder, projector and LLM as one model; its loss over packed utterances.

Takes packed batches (zipperasr.batching.batch). Returns the summed cross-entropy, its statistics and its weight, as
ESPnet's models do; the trainer divides by the number of labels over all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zipperasr.audio.segments import cut_all
from zipperasr.batching.batch import PackedBatch, PackedText, Speech
from zipperasr.lora.injection import LanguageAdapters
from zipperasr.model import packed_llm, ragged
from zipperasr.model.encoder import SpeechEncoder, pad_segments
from zipperasr.model.projector import GatedProjector


class SpeechLLM(nn.Module):
    """P(text | prompt, speech) (Eq. 1-5).

    Args:
        encoder: Whisper's encoder. projector: encoder frames -> LLM embeddings.
        llm: Qwen3ForCausalLM, with PEFT's LoRA around it.
        adapters: the language adapters on the encoder; None in Stage 1.
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
        """The Qwen3ForCausalLM inside PEFT's wrapper."""
        return self.llm.get_base_model() if hasattr(self.llm, "get_base_model") else self.llm

    def compile_layers(self, backend: str = "inductor") -> None:
        """Let torch.compile fuse the LLM's layers, and the encoder's where they carry no adapters.

        Adapters would be compiled anew for every layer and every number of languages in a batch.
        """
        for layer in self.causal_lm.model.layers:
            layer.compile(dynamic=True, backend=backend)
        if self.adapters is None:
            self.encoder.compile_layers(backend)

    def embed_speech(self, speech: Speech, chunk_frames: int | None) -> tuple[Tensor, list[int]]:
        """Encode and project. chunk_frames: mel frames per chunk; None: full context, in windows of at most 30 s.

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
            self.adapters.set_batch(speech.languages, _sum_groups([(s + 1) // 2 for s in lengths], per_utterance))
        hidden, frames = self.encoder(mel, lengths, segments if self.encoder.pad_to_30s else None)
        return self.projector(hidden, _sum_groups(frames, per_utterance))

    def forward(self, batch: PackedBatch, chunk_frames: int | None = None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Returns the cross-entropy summed over label tokens, {loss, accuracy} per label, and their number."""
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
        """Token embeddings with the speech put in its places: (positions, LLM width)."""
        embeddings = self.causal_lm.get_input_embeddings()(text.input_ids)
        return embeddings.index_copy(0, text.speech_places, speech.to(embeddings.dtype))

    def _run_text(self, batch: PackedBatch, chunk_frames: int | None) -> Tensor:
        """The LLM's last hidden states: (positions, LLM width)."""
        speech, _ = self.embed_speech(batch.speech, chunk_frames)
        text = batch.text
        layout = ragged.Layout(text.lengths, speech.device)
        return packed_llm.hidden_states(self.causal_lm, self.embed_text(text, speech), text.position_ids, layout)


def _sum_groups(values: Sequence[int], sizes: Sequence[int]) -> list[int]:
    iterator = iter(values)
    return [sum(next(iterator) for _ in range(size)) for size in sizes]
