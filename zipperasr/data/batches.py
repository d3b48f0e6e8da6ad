"""Packs become tensors: speech laid end to end, text in rows.

In: the utterances of each pack (features and token ids). Out: `PackedBatch`, in which every row is one pack and
every pack one language. Packs of one language are put side by side, so that an adapter works per language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from zipperasr.model.segments import num_positions

IGNORED = -100  # label of positions that are not predicted


@dataclass(frozen=True)
class Example:
    """One utterance, ready to be packed."""

    utt_id: str
    language: str
    mel: Tensor  # (mel frames, mel bins)
    num_samples: int
    prompt: Sequence[int]
    transcript: Sequence[int]  # with the end token; empty when decoding

    @property
    def speech_positions(self) -> int:
        return num_positions(self.num_samples)

    @property
    def positions(self) -> int:
        return len(self.prompt) + self.speech_positions + len(self.transcript)


@dataclass(frozen=True)
class Speech:
    """Log-mel frames of all utterances, end to end."""

    mel: Tensor  # (sum of lengths, mel bins)
    lengths: tuple[int, ...]  # mel frames of each utterance
    languages: tuple[str, ...]  # of each utterance

    def to(self, device: torch.device | str) -> Speech:
        return replace(self, mel=self.mel.to(device, non_blocking=True))


@dataclass(frozen=True)
class PackedRows:
    """Rows of utterances, one after another: prompt, speech, transcript. All tensors are (rows, positions)."""

    input_ids: Tensor  # 0 where speech goes and in the padding
    is_speech: Tensor  # where the speech embeddings go, in order
    position_ids: Tensor  # restart with each utterance
    utterance: Tensor  # 0, 1, ... within the row; -1 in the padding
    labels: Tensor  # the transcript's ids at their own positions; IGNORED elsewhere

    def to(self, device: torch.device | str) -> PackedRows:
        return PackedRows(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True)
class PackedBatch:
    """What one training step of one process sees."""

    speech: Speech
    rows: PackedRows
    utt_ids: tuple[str, ...]
    num_samples: int

    def to(self, device: torch.device | str) -> PackedBatch:
        return replace(self, speech=self.speech.to(device), rows=self.rows.to(device))


def collate(packs: Sequence[Sequence[Example]]) -> PackedBatch:
    """Turn packs of one language each into a batch."""
    packs = sorted(packs, key=lambda pack: pack[0].language)
    examples = [example for pack in packs for example in pack]
    width = max(sum(example.positions for example in pack) for pack in packs)
    columns = [_row(pack, width) for pack in packs]
    return PackedBatch(
        speech=collate_speech(examples),
        rows=PackedRows(*(torch.stack(tensors) for tensors in zip(*columns, strict=True))),
        utt_ids=tuple(example.utt_id for example in examples),
        num_samples=sum(example.num_samples for example in examples),
    )


def collate_speech(examples: Sequence[Example]) -> Speech:
    """Lay the features of all examples end to end."""
    return Speech(
        mel=torch.cat([example.mel for example in examples]),
        lengths=tuple(len(example.mel) for example in examples),
        languages=tuple(example.language for example in examples),
    )


def _row(pack: Sequence[Example], width: int) -> tuple[Tensor, ...]:
    input_ids, labels = torch.zeros(width, dtype=torch.long), torch.full((width,), IGNORED)
    is_speech, utterance = torch.zeros(width, dtype=torch.bool), torch.full((width,), -1)
    position_ids = torch.zeros(width, dtype=torch.long)
    start = 0
    for number, example in enumerate(pack):
        speech_start = start + len(example.prompt)
        text_start = speech_start + example.speech_positions
        end = text_start + len(example.transcript)
        input_ids[start:speech_start] = torch.tensor(example.prompt)
        is_speech[speech_start:text_start] = True
        if example.transcript:
            input_ids[text_start:end] = labels[text_start:end] = torch.tensor(example.transcript)
        position_ids[start:end] = torch.arange(end - start)
        utterance[start:end] = number
        start = end
    return input_ids, is_speech, position_ids, utterance, labels
