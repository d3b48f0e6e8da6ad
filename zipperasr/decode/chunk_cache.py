"""Encode utterances that are still growing: each chunk once, unless its features change.

Chunks are independent in the chunked regime, but their features are not quite: Whisper clamps log-mel features at 8
below the maximum of the utterance, and its first sample moves if silence is trimmed. Features are therefore computed
again over the whole utterance, which is cheap, and only chunks in which they differ are encoded again. The result
always equals that of encoding the whole utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zipperasr.audio.segments import cut
from zipperasr.model.speech_llm import Speech, SpeechLLM, pad_segments

TOLERANCE = 1e-4  # of features, which are about -1.5 to 1.5; rounding differs with the number of frames


class ChunkCache:
    """Encoder outputs of the chunks of one utterance."""

    def __init__(self) -> None:
        self._features: list[Tensor] = []  # of each chunk when it was encoded
        self._frames: list[Tensor] = []  # its encoder output
        self.num_encoded = 0  # chunks of all utterances so far
        self.num_repeated = 0  # of these, encoded again because their features had changed

    def clear(self) -> None:
        """Forget the utterance."""
        self._features, self._frames = [], []

    @property
    def num_frames(self) -> int:
        """Mel frames of its chunks."""
        return sum(map(len, self._features))

    def missing(self, features: Sequence[Tensor]) -> list[int]:
        """Numbers of the chunks that must be encoded."""
        return [number for number, chunk in enumerate(features) if not self._holds(number, chunk)]

    def updated(self, features: Sequence[Tensor], new: dict[int, Tensor]) -> list[Tensor]:
        """Keep new outputs by the number of their chunk; returns those of all chunks."""
        self.num_encoded += len(new)
        self.num_repeated += sum(number < len(self._features) for number in new)
        kept = {number: frames.clone() for number, frames in new.items()}  # not the whole batch
        encoded = {number: features[number].clone() for number in new}  # others stay: small changes could add up
        numbers = range(len(features))
        self._features = [encoded[number] if number in new else self._features[number] for number in numbers]
        self._frames = [kept[number] if number in new else self._frames[number] for number in numbers]
        return self._frames

    def _holds(self, number: int, chunk: Tensor) -> bool:
        if number >= len(self._features) or self._features[number].shape != chunk.shape:
            return False
        return torch.allclose(self._features[number], chunk, rtol=0, atol=TOLERANCE)


class _Chunks(NamedTuple):
    """One utterance."""

    features: list[Tensor]  # of each chunk, padded if the encoder needs it
    sizes: list[int]  # mel frames of each chunk, without padding
    missing: list[int]
    cache: ChunkCache


def embed_speech(
    model: SpeechLLM, speech: Speech, chunk_frames: int | None, caches: Sequence[ChunkCache | None]
) -> tuple[Tensor, list[int]]:
    """Equals `SpeechLLM.embed_speech`. Chunks that the cache of their utterance holds are not encoded again.

    caches: of each utterance; None: it has none. One call of the encoder serves all utterances.
    """
    if all(cache is None for cache in caches):
        return model.embed_speech(speech, chunk_frames)
    encoder = model.encoder
    mels = speech.mel.split([length + speech.edge_frames for length in speech.lengths])
    chunks = [
        _cut(model, mel, length, speech.edge_frames, chunk_frames, cache or ChunkCache())
        for mel, length, cache in zip(mels, speech.lengths, caches, strict=True)
    ]
    new = [one.features[number] for one in chunks for number in one.missing]
    outputs: list[Tensor] = []
    if new:
        lengths = [len(features) for features in new]
        if model.adapters is not None:
            owners = [lang for lang, one in zip(speech.languages, chunks, strict=True) for _ in one.missing]
            model.adapters.set_batch(owners, list(map(encoder.num_frames, lengths)))
        kept = [one.sizes[number] for one in chunks for number in one.missing] if encoder.pad_to_30s else None
        hidden, frames = encoder(torch.cat(new), lengths, kept)
        outputs = list(hidden.split(frames))
    found = iter(outputs)
    embedded = [torch.cat(one.cache.updated(one.features, {n: next(found) for n in one.missing})) for one in chunks]
    return model.projector(torch.cat(embedded), [len(frames) for frames in embedded], speech.languages)


def _cut(
    model: SpeechLLM, mel: Tensor, length: int, edge_frames: int, chunk_frames: int | None, cache: ChunkCache
) -> _Chunks:
    window = model.encoder.max_mel_frames
    longest = min(chunk_frames or window, window)
    sizes = cut(length, longest)
    if model.encoder.pad_to_30s:
        features = list(pad_segments(mel, [length], longest, edge_frames, window).split(window))
    else:
        features = list(mel.split(sizes))
    return _Chunks(features, sizes, cache.missing(features), cache)
