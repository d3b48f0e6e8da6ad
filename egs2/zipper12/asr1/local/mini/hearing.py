"""Training batches of the mini Whisper: utterances, single or joined with pauses.

In: synthetic utterances, all in memory. Out: `Batch`es with the targets of CTC and of the decoder. The order of
the utterances depends on the seed only, so that an interrupted training can resume.
"""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperTokenizerFast

from local.mini.pretraining_data import PretrainingUtterance
from zipperasr.audio.segments import MEL_FRAMES_PER_S

if TYPE_CHECKING:
    from local.mini.pretrain_whisper import WhisperSize

_MEAN_PAUSE_S, _LONGEST_PAUSE_S = 0.4, 2.0
_QUIETEST = 10  # frames of an utterance from which pauses are drawn


@dataclass(frozen=True)
class Batch:
    mel: Tensor
    lengths: list[int]
    units: Tensor
    num_units: Tensor
    tokens: Tensor
    targets: Tensor


def groups(
    utterances: Sequence[PretrainingUtterance], size: WhisperSize, seed: int
) -> Iterator[list[PretrainingUtterance]]:
    """Yield groups of utterances of about equal length, infinitely; a function of the seed."""
    for epoch in itertools.count():
        rng = random.Random(f"{seed} {epoch}")
        order = sorted(utterances, key=lambda utterance: len(utterance.mel) + rng.uniform(-20, 20))
        groups, group, frames = [], [], 0
        for utterance in order:
            if group and frames + len(utterance.mel) > size.batch_frames:
                groups.append(group)
                group, frames = [], 0
            group.append(utterance)
            frames += len(utterance.mel)
        groups.append(group)
        rng.shuffle(groups)
        yield from groups


class Collate:
    """Collates groups of utterances; `rng` draws masks and pauses."""

    def __init__(
        self,
        tokenizer: WhisperTokenizerFast,
        language_tokens: dict[str, str],
        units: Sequence[str],
        size: WhisperSize,
        rng: random.Random,
    ):
        self.tokenizer, self.size, self.rng = tokenizer, size, rng
        self.language_tokens = language_tokens
        self.index = {unit: number for number, unit in enumerate(units, 1)}

    def __call__(self, group: Sequence[PretrainingUtterance]) -> Batch:
        mels = [torch.from_numpy(utterance.mel).float() for utterance in group]
        if self.size.spec_augment:
            mels = [_mask(mel, self.rng) for mel in mels]
        rows = [self._tokens(utterance) for utterance in group]
        return Batch(
            mel=torch.cat(mels),
            lengths=[len(mel) for mel in mels],
            **self._units([[unit for unit in spelled(utterance, self.size)] for utterance in group]),
            tokens=pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            targets=pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-100),
        )

    def joined(self, group: Sequence[PretrainingUtterance]) -> Batch:
        """Return a batch for CTC only: the utterances joined with pauses into clips of at most size.longest_s."""
        longest = round(self.size.longest_s * MEL_FRAMES_PER_S)
        clips: list[list[Tensor]] = []
        units: list[list[str]] = []
        order = self.rng.sample(group, len(group))
        for utterance in order:
            mel = torch.from_numpy(utterance.mel).float()
            pieces = [_pause(mel, self.rng), mel]
            if not clips or sum(map(len, [*clips[-1], *pieces])) > longest:
                clips.append([])
                units.append([])
            clips[-1] += pieces
            units[-1] += spelled(utterance, self.size)
        for clip in clips:
            clip.append(_pause(clip[-1], self.rng))
        empty = torch.empty(len(clips), 0, dtype=torch.long)
        lengths = [sum(map(len, clip)) for clip in clips]
        mel = torch.cat([piece for clip in clips for piece in clip])
        return Batch(mel=mel, lengths=lengths, **self._units(units), tokens=empty, targets=empty)

    def _tokens(self, utterance: PretrainingUtterance) -> Tensor:
        """Return the decoder's targets: language, task and text."""
        language = f"<|{self.language_tokens[utterance.language]}|>"
        prefix = ["<|startoftranscript|>", language, "<|transcribe|>", "<|notimestamps|>"]
        text = self.tokenizer(utterance.text, add_special_tokens=False)["input_ids"]
        return torch.tensor([*self.tokenizer.convert_tokens_to_ids(prefix), *text, self.tokenizer.eos_token_id])

    def _units(self, spelled: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        ids = [self.index[unit] for units in spelled for unit in units]
        return {"units": torch.tensor(ids), "num_units": torch.tensor([len(units) for units in spelled])}


def _pause(mel: Tensor, rng: random.Random) -> Tensor:
    """Return a pause of up to two seconds, drawn from the quietest frames of `mel`."""
    num_frames = round(min(_LONGEST_PAUSE_S, rng.expovariate(1 / _MEAN_PAUSE_S)) * MEL_FRAMES_PER_S)
    quietest = mel.mean(1).argsort()[:_QUIETEST]
    return mel[quietest[[rng.randrange(len(quietest)) for _ in range(num_frames)]]]


def spelled(utterance: PretrainingUtterance, size: WhisperSize) -> Sequence[str]:
    """Return the targets of CTC: phonemes, or the text in lower case with decomposed Korean syllables."""
    if size.ctc_units == "phonemes":
        return utterance.phonemes
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in utterance.text.lower())


def _mask(mel: Tensor, rng: random.Random) -> Tensor:
    """SpecAugment: one band and one stretch set to the mean (arXiv 1904.08779)."""
    band, stretch = rng.randint(0, 15), rng.randint(0, 15)
    low, first = rng.randint(0, mel.shape[1] - band), rng.randint(0, max(0, len(mel) - stretch))
    mel[:, low : low + band] = mel.mean()
    mel[first : first + stretch] = mel.mean()
    return mel
