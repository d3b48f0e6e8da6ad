"""Transcribe utterances of one language, and measure the time as the Open ASR Leaderboard does.

The clock runs from 16 kHz samples in memory to texts: features, encoder, search and detokenisation. Reading and
resampling audio, loading the model, a warm-up and scoring are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from zipperasr.audio.load import SAMPLE_RATE, open_entry, read_excerpt
from zipperasr.corpora.utterance import Utterance
from zipperasr.transcribe.sources import Recording

if TYPE_CHECKING:
    from zipperasr.transcribe.transcriber import Transcriber

BLOCK_S = 1800.0  # of audio that is in memory: 115 MB
WARM_UP = 16  # recordings


@dataclass
class Transcribed:
    """The transcribed utterances of one language.

    Attributes:
        texts: by utterance id.
        audio_s: duration of these utterances.
        transcription_s: wall time of their transcription.
        failures: why the others have no text, one line each.
    """

    texts: dict[str, str] = field(default_factory=dict)
    audio_s: float = 0.0
    transcription_s: float = 0.0
    failures: list[str] = field(default_factory=list)


class TimedTranscription:
    """Transcribes one language after the other; warms up before the first.

    Args:
        progress: called with the number of utterances that are finished.
    """

    def __init__(self, transcriber: Transcriber, progress: Callable[[int], object] = lambda _: None):
        self._transcriber, self._progress = transcriber, progress
        self._is_warm = False

    def __call__(self, utterances: Iterable[Utterance], lang: str) -> Transcribed:
        """Transcribe utterances in `lang`. Audio that cannot be read or decoded is a failure."""
        found = Transcribed()
        for block in _blocks(utterances, found.failures, self._progress):
            if not self._is_warm:
                list(self._transcriber.transcribe(block[:WARM_UP], lang))
                self._is_warm = True
            start = time.perf_counter()
            transcripts = list(self._transcriber.transcribe(block, lang))
            found.transcription_s += time.perf_counter() - start
            for recording, transcript in transcripts:
                if isinstance(transcript, Exception):
                    found.failures.append(f"{recording.id}: {transcript}")
                else:
                    found.texts[recording.id] = transcript.text
                    found.audio_s += transcript.duration_s
            self._progress(len(block))
        return found


def _blocks(
    utterances: Iterable[Utterance], failures: list[str], progress: Callable[[int], object]
) -> Iterator[list[Recording]]:
    """Yield recordings with their samples, about BLOCK_S of audio at a time."""
    block, num_samples = [], 0
    for utterance in utterances:
        try:
            samples = _samples(utterance)
        except (soundfile.LibsndfileError, ValueError, OSError) as error:
            failures.append(f"{utterance.id}: {utterance.audio}: {getattr(error, 'error_string', error)}")
            progress(1)
            continue
        block.append(Recording(utterance.id, samples))
        num_samples += len(samples)
        if num_samples >= BLOCK_S * SAMPLE_RATE:
            yield block
            block, num_samples = [], 0
    if block:
        yield block


def _samples(utterance: Utterance) -> np.ndarray:
    with open_entry(utterance.audio) as recording:
        samples = read_excerpt(recording, utterance.start_s, utterance.end_s)
    if not len(samples):
        raise ValueError("no samples")
    return samples
