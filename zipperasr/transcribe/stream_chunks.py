"""Encode an utterance that is still growing: each chunk once, unless its features change.

Chunks are independent in the chunked regime, but their features are not quite: Whisper clamps log-mel features at 8
below the maximum of the utterance, and its first sample moves if silence is trimmed. Features are therefore computed
again over the whole utterance, which is cheap, and only chunks in which they differ are encoded again. The result
always equals that of encoding the whole utterance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zipperasr.audio.segments import cut
from zipperasr.model.speech_llm import Speech, SpeechLLM, pad_segments

TOLERANCE = 1e-4  # of features, which are about -1.5 to 1.5; rounding differs with the number of frames


class ChunkCache:
    """Encoder outputs of the chunks of one utterance."""

    def __init__(self, model: SpeechLLM):
        self._model = model
        self._features: list[Tensor] = []  # of each chunk
        self._frames: list[Tensor] = []  # its encoder output
        self.num_encoded = 0  # chunks of all utterances so far
        self.num_repeated = 0  # of these, encoded again because their features had changed

    def clear(self) -> None:
        """Forget the utterance."""
        self._features, self._frames = [], []

    def embed_speech(self, speech: Speech, chunk_frames: int | None) -> tuple[Tensor, list[int]]:
        """Equals `SpeechLLM.embed_speech` for one utterance."""
        encoder = self._model.encoder
        window = encoder.max_mel_frames
        longest = min(chunk_frames or window, window)
        sizes = cut(speech.lengths[0], longest)
        lengths = [window] * len(sizes) if encoder.pad_to_30s else sizes
        mel = speech.mel
        if encoder.pad_to_30s:
            mel = pad_segments(mel, speech.lengths, longest, speech.edge_frames, window)
        features = list(mel.split(lengths))
        changed = [number for number, chunk in enumerate(features) if not self._holds(number, chunk)]
        self.num_encoded += len(changed)
        self.num_repeated += sum(number < len(self._features) for number in changed)
        outputs = dict(enumerate(self._frames[: len(features)]))
        if changed:
            new_lengths, kept = ([values[number] for number in changed] for values in (lengths, sizes))
            if self._model.adapters is not None:
                self._model.adapters.set_batch(speech.languages, [sum(map(encoder.num_frames, new_lengths))])
            new = torch.cat([features[number] for number in changed])
            hidden, frames = encoder(new, new_lengths, kept if encoder.pad_to_30s else None)
            outputs.update(zip(changed, hidden.split(frames), strict=True))
        self._features, self._frames = features, [outputs[number] for number in range(len(features))]
        hidden = torch.cat(self._frames)
        return self._model.projector(hidden, [len(hidden)])

    def _holds(self, number: int, chunk: Tensor) -> bool:
        if number >= len(self._features) or self._features[number].shape != chunk.shape:
            return False
        return torch.allclose(self._features[number], chunk, rtol=0, atol=TOLERANCE)
