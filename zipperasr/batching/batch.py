"""Collate packs into tensors without padding: all speech concatenated, all text concatenated.

In: the utterances of each pack (features and token ids). Out: `PackedBatch`. A pack has one language; packs of a
language are adjacent, so that adapters process each language as one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zipperasr.audio.frontend import Frontend
from zipperasr.audio.segments import mel_frames, num_positions
from zipperasr.audio.spec_augment import NO_MASKS, Masks, mask
from zipperasr.device import to_device


@dataclass(frozen=True)
class Example:
    """One utterance, ready to be packed."""

    utt_id: str
    language: str
    mel: Tensor | None  # (mel frames, mel bins); None if computed on the device
    num_samples: int
    prompt: Sequence[int]
    transcript: Sequence[int]  # with the end token; empty when decoding
    audio: Tensor | None = None  # (num_samples,); only if mel is None
    edge_frames: int = 0  # mel frames after the end of the utterance
    start: int = 0  # samples of silence removed before it
    masks: Masks = NO_MASKS  # for the features; only if mel is None

    @property
    def speech_positions(self) -> int:
        return num_positions(self.num_samples)

    @property
    def positions(self) -> int:
        return len(self.prompt) + self.speech_positions + len(self.transcript)


@dataclass(frozen=True)
class Speech:
    """Concatenated log-mel frames of all utterances, or their audio, from which `to` computes them."""

    mel: Tensor | None  # (sum of lengths + edge_frames of each, mel bins)
    lengths: tuple[int, ...]  # mel frames of each utterance
    languages: tuple[str, ...]  # of each utterance
    audio: tuple[Tensor, ...] = ()  # of each utterance; only if mel is None
    frontend: Frontend | None = None  # computes the features from the audio
    edge_frames: int = 0
    masks: tuple[Masks, ...] = ()  # for the features of each; only if mel is None

    def to(self, device: torch.device | str) -> Speech:
        mel = self.mel
        if mel is None:
            audio = (to_device(audio, device) for audio in self.audio)
            mels = (self.frontend(one, self.edge_frames) for one in audio)
            mel = torch.cat([mask(one, masks) for one, masks in zip(mels, self.masks, strict=True)])
        return Speech(to_device(mel, device), self.lengths, self.languages, edge_frames=self.edge_frames)

    def pin_memory(self) -> Speech:
        """Copy to pinned memory, for asynchronous copies to a GPU; DataLoader calls it."""
        mel = None if self.mel is None else self.mel.pin_memory()
        return replace(self, mel=mel, audio=tuple(audio.pin_memory() for audio in self.audio))


@dataclass(frozen=True)
class PackedText:
    """Input of the LLM: prompt, speech and transcript of each utterance, concatenated."""

    input_ids: Tensor  # (positions,); 0 in slots of speech
    position_ids: Tensor  # (positions,); restart with each utterance
    speech_places: Tensor  # positions of the speech embeddings, in order
    label_places: Tensor  # positions of the transcripts' tokens; each is predicted at the position before it
    lengths: tuple[int, ...]  # positions of each utterance

    def to(self, device: torch.device | str) -> PackedText:
        return self._of_each(lambda tensor: to_device(tensor, device))

    def pin_memory(self) -> PackedText:
        return self._of_each(Tensor.pin_memory)

    def _of_each(self, function: Callable[[Tensor], Tensor]) -> PackedText:
        tensors = ("input_ids", "position_ids", "speech_places", "label_places")
        return replace(self, **{name: function(getattr(self, name)) for name in tensors})


@dataclass(frozen=True)
class PackedBatch:
    """The input of one micro-step of one process."""

    speech: Speech
    text: PackedText
    utt_ids: tuple[str, ...]
    num_samples: int
    num_packs: int

    @property
    def num_positions(self) -> int:
        """The LLM positions of all utterances."""
        return sum(self.text.lengths)

    def to(self, device: torch.device | str) -> PackedBatch:
        return replace(self, speech=self.speech.to(device), text=self.text.to(device))

    def pin_memory(self) -> PackedBatch:
        return replace(self, speech=self.speech.pin_memory(), text=self.text.pin_memory())


def collate(packs: Sequence[Sequence[Example]], frontend: Frontend | None = None) -> PackedBatch:
    """Collate packs of one language each. frontend: for examples with audio instead of features."""
    packs = sorted(packs, key=lambda pack: pack[0].language)
    examples = [example for pack in packs for example in pack]
    return PackedBatch(
        speech=collate_speech(examples, frontend),
        text=collate_text(examples),
        utt_ids=tuple(example.utt_id for example in examples),
        num_samples=sum(example.num_samples for example in examples),
        num_packs=len(packs),
    )


def collate_speech(examples: Sequence[Example], frontend: Frontend | None = None) -> Speech:
    """Concatenate the features of all examples."""
    audio = tuple(example.audio for example in examples if example.mel is None)
    return Speech(
        mel=None if audio else torch.cat([example.mel for example in examples]),
        lengths=tuple(mel_frames(example.num_samples) for example in examples),
        languages=tuple(example.language for example in examples),
        audio=audio,
        frontend=frontend,
        edge_frames=examples[0].edge_frames,
        masks=tuple(example.masks for example in examples if example.mel is None),
    )


def collate_text(examples: Sequence[Example]) -> PackedText:
    """Concatenate prompts, slots for speech and transcripts of all examples."""
    input_ids, position_ids, speech_places, label_places = [], [], [], []
    for example in examples:
        speech_start = len(input_ids) + len(example.prompt)
        text_start = speech_start + example.speech_positions
        input_ids += [*example.prompt, *[0] * example.speech_positions, *example.transcript]
        position_ids += range(example.positions)
        speech_places += range(speech_start, text_start)
        label_places += range(text_start, len(input_ids))
    return PackedText(
        *map(torch.tensor, (input_ids, position_ids)),
        *(torch.tensor(places, dtype=torch.long) for places in (speech_places, label_places)),
        tuple(example.positions for example in examples),
    )
