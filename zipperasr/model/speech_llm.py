"""Encoder, projector and LLM as one model; its loss over packed rows.

In: ragged log-mel frames and rows of packed utterances (zipperasr.data.batches). Out: the summed cross-entropy, its
statistics and its weight, as ESPnet's models return them. The trainer divides by the global number of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.data.batches import PackedBatch, PackedRows, Speech
from zipperasr.lora.inject import LanguageAdapters
from zipperasr.model.encoder import SpeechEncoder
from zipperasr.model.projector import GatedProjector
from zipperasr.model.segments import cut_all


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

    def embed_speech(self, speech: Speech, chunk_frames: int | None) -> tuple[Tensor, list[int]]:
        """Encode and project. chunk_frames: mel frames per chunk; None: full context, in windows of at most 30 s.

        Returns (sum of positions, LLM width) and the positions of each utterance.
        """
        longest = min(chunk_frames or self.encoder.max_mel_frames, self.encoder.max_mel_frames)
        segments, per_utterance = cut_all(speech.lengths, longest)
        if self.adapters is not None:
            self.adapters.set_batch(speech.languages, _sum_groups([(s + 1) // 2 for s in segments], per_utterance))
        hidden, frames = self.encoder(speech.mel, segments)
        return self.projector(hidden, _sum_groups(frames, per_utterance))

    def forward(self, batch: PackedBatch, chunk_frames: int | None = None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Returns the cross-entropy summed over label tokens, {loss, accuracy} per label, and their number."""
        speech, _ = self.embed_speech(batch.speech, chunk_frames)
        rows = batch.rows
        hidden = self._run_rows(rows, speech)
        labelled = rows.labels[:, 1:] >= 0  # position t predicts label t + 1
        logits = self.causal_lm.lm_head(hidden[:, :-1][labelled]).float()
        targets = rows.labels[:, 1:][labelled]
        loss = functional.cross_entropy(logits, targets, reduction="sum")
        weight = labelled.sum()
        correct = (logits.argmax(-1) == targets).sum()
        return loss, {"loss": loss.detach() / weight, "accuracy": correct / weight}, weight

    def packed_logits(self, batch: PackedBatch, chunk_frames: int | None = None) -> Tensor:
        """Logits at every position: (rows, positions, vocabulary)."""
        speech, _ = self.embed_speech(batch.speech, chunk_frames)
        return self.causal_lm.lm_head(self._run_rows(batch.rows, speech))

    def embed_rows(self, rows: PackedRows, speech: Tensor) -> Tensor:
        """Token embeddings with the speech put in its places: (rows, positions, LLM width)."""
        embeddings = self.causal_lm.get_input_embeddings()(rows.input_ids)
        return embeddings.masked_scatter(rows.is_speech[..., None], speech.to(embeddings.dtype))

    def _run_rows(self, rows: PackedRows, speech: Tensor) -> Tensor:
        """The LLM's last hidden states. The mask is built here: nothing in a row sees its neighbours."""
        return self.causal_lm.model(
            inputs_embeds=self.embed_rows(rows, speech),
            attention_mask={"full_attention": isolation_mask(rows.utterance)},
            position_ids=rows.position_ids,
            use_cache=False,
        ).last_hidden_state


def isolation_mask(utterance: Tensor) -> Tensor:
    """Causal attention inside each utterance only. utterance: (rows, positions) -> (rows, 1, positions, positions)."""
    same = utterance[:, :, None] == utterance[:, None, :]
    size = utterance.shape[1]
    return (same & torch.ones(size, size, dtype=torch.bool, device=utterance.device).tril())[:, None]


def _sum_groups(values: Sequence[int], sizes: Sequence[int]) -> list[int]:
    iterator = iter(values)
    return [sum(next(iterator) for _ in range(size)) for size in sizes]
