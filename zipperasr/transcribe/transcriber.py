"""Transcribe recordings of any length with a trained model: cut, detect the language, decode, join.

Pieces of several recordings are decoded in one batch. Memory does not grow with the length of a recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch

from zipperasr.align.aligner import Aligner
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import REGIMES, segment_frames
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.cli import nearest
from zipperasr.decode.chunk_cache import ChunkCache
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoded, Decoder
from zipperasr.decode.hooks import Hooks
from zipperasr.decode.vllm_search import VllmSearch
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.transcribe.batches import in_batches
from zipperasr.transcribe.calibration import Calibration
from zipperasr.transcribe.confidence import tokens_of, words_of
from zipperasr.transcribe.defaults import AUTO, DEFAULTS, HINT_WEIGHT, NO_HINTS
from zipperasr.transcribe.detect import LanguageDetector
from zipperasr.transcribe.engine import load_for_engine, longest_piece_s
from zipperasr.transcribe.hint_lists import HintLists
from zipperasr.transcribe.hints import as_phrases
from zipperasr.transcribe.pauses import Piece, cut_at_pauses
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.stream import Stream
from zipperasr.transcribe.stream_endpoints import Endpoints
from zipperasr.transcribe.transcript import Job, Pending, Segment, Transcript
from zipperasr.transcribe.voice import ENERGY, keep_voiced, load_detector, stream_detector
from zipperasr.transcribe.word_times import load_aligner, with_times


class Transcriber:
    """A trained model that transcribes recordings.

    Args:
        opened: the model with its tokenizer and language table.
        config: decoding configuration.
        regime: encoder attention, chunked or full; None: as in training.
        soft: if the language is detected, average LID embeddings and language-specific weights by the language
            probabilities instead of using those of the most likely language. The prompt is always the latter's.
        vad: voice detector, silero or energy, which takes everything but silence for speech.
        aligner: finds the times of words; None: they have none.
        vllm: the model's LLM in vLLM, for `engine: vllm`; needs `close` at the end.
    """

    def __init__(
        self,
        opened: Pretrained,
        config: DecodeConfig = DEFAULTS,
        regime: str | None = None,
        soft: bool = False,
        vad: str = ENERGY,
        aligner: Aligner | None = None,
        vllm: VllmSearch | None = None,
    ):
        settings = opened.experiment.model
        regime = regime or opened.experiment.regime
        if regime not in REGIMES:
            raise ValueError(f"unknown regime {regime!r}; {nearest(regime, REGIMES)}")
        self.opened, self.languages, self.config, self.soft = opened, opened.languages, config, soft
        chunk_frames = segment_frames(settings.decode_chunk_s) if regime == "chunked" else None
        self.longest_s = longest_piece_s(opened.experiment)
        self._vllm = vllm
        self._decoder = Decoder(opened.model, opened.tokenizer, config, chunk_frames, vllm)
        self.aligner = aligner
        self._decoder.keeps_frames = aligner is not None
        self._read = ExampleReader(
            opened.tokenizer,
            self.languages,
            opened.model.encoder.frontend,
            edge_frames=settings.edge_frames,
            trim_silence=settings.trim_silence,
        )
        self._voiced = load_detector(vad)
        self.calibration = Calibration.load(opened.directory)  # of words' confidences
        self._detector: LanguageDetector | None = None
        self._keys = count()
        self.hint_lists = HintLists(opened, aligner)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: str | None = None,
        config: DecodeConfig = DEFAULTS,
        regime: str | None = None,
        soft: bool = False,
        vad: str = ENERGY,
        words: bool | None = False,
    ) -> Transcriber:
        """Open a training directory or a bundle.

        Args:
            device: by default cuda if available, otherwise cpu.
            words: find the times of words with the model's aligner; None: if it has one that fits.

        Raises FileNotFoundError or ValueError if it is incomplete or damaged, or vLLM is needed but not installed.
        """
        opened, vllm = load_for_engine(path, config)
        opened.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        aligner = None if words is False else load_aligner(opened, needed=words is True)
        return cls(opened, config, regime, soft, vad, aligner, vllm)

    def close(self) -> None:
        """End vLLM, if it is used."""
        if self._vllm is not None:
            self._vllm.close()

    @property
    def detector(self) -> LanguageDetector:
        """The original Whisper, loaded on first use."""
        if self._detector is None:
            self._detector = LanguageDetector(self.opened)
        return self._detector

    @property
    def has_detected(self) -> bool:
        """Whether the original Whisper has been loaded."""
        return self._detector is not None

    def __call__(
        self,
        audio: str | Path | np.ndarray,
        lang: str = AUTO,
        rate: int = SAMPLE_RATE,
        hints: Sequence[str] = (),
    ) -> Transcript:
        """Transcribe one recording: a path, or samples (num_samples[, channels]) at `rate`. hints: phrases to prefer.

        Raises ValueError for a language outside the model's set, audio that cannot be decoded or a hint that is too
        long; OSError.
        """
        name = "samples" if isinstance(audio, np.ndarray) else str(audio)
        phrases = as_phrases(hints, HINT_WEIGHT)
        ((_, found),) = self.transcribe([Recording(name, audio, rate, phrases)], lang)
        if isinstance(found, Exception):
            raise found
        return found

    def transcribe(
        self,
        recordings: Iterable[Recording],
        lang: str = AUTO,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Recording, Transcript | Exception]]:
        """Yield each recording with its transcript or an exception, in order and as soon as possible.

        check: called between batches of the encoder and before each token of greedy search; its exceptions end the
            transcription.
        Raises ValueError for a language outside the model's set.
        """
        if lang != AUTO:
            self._check(lang)
        jobs: deque[Job] = deque()
        pending: dict[str, Pending] = {}

        def begin(recording: Recording) -> tuple[Job, Iterator[Example]]:
            jobs.append(Job(recording, "" if lang == AUTO else lang))
            return jobs[-1], self.examples(jobs[-1], pending)

        hooks = Hooks(
            check=check,
            encoded=lambda _: check(),
            phrases=lambda example: pending[example.utt_id].job.phrases,
            mixture=lambda batch: self._mixture(pending[batch[0].utt_id].job),
        )
        batches = in_batches(map(begin, recordings), self.config, by_recording=self.soft)
        for decoded in self._decoder.run(batches, hooks):
            self.keep(decoded, pending.pop(decoded.example.utt_id))
            while jobs and jobs[0].done:
                yield jobs[0].recording, jobs.popleft().result()
        yield from ((job.recording, job.result()) for job in jobs)

    @property
    def can_share_batches(self) -> bool:
        """Whether recordings that arrive at any time can be decoded together."""
        return not self.soft

    @property
    def has_logprobs(self) -> bool:
        """Whether the search reports the log-probabilities of tokens."""
        return self._decoder.has_logprobs

    @property
    def takes_hints(self) -> bool:
        """Whether the search can prefer phrases."""
        return self._decoder.takes_phrases

    def decode_live(self, batches: Iterable[Sequence[Example] | None], hooks: Hooks) -> Generator[Decoded, None, None]:
        """See `Decoder.run_live`; nothing else may be transcribed at the same time."""
        return self._decoder.run_live(batches, hooks)

    def keep(self, decoded: Decoded, piece: Pending) -> None:
        """Keep the result of a piece in the job of its recording."""
        piece.job.segments[piece.number] = self._segment(decoded, piece.start_s, piece.end_s)

    def _segment(self, decoded: Decoded, start_s: float, end_s: float) -> Segment:
        tokens = tokens_of(decoded, self.opened.tokenizer)
        words = words_of(decoded.text, tokens, self.languages[decoded.example.language].unit, self.calibration)
        found = (decoded.text, decoded.note, words, decoded.avg_logprob, tokens, decoded.alternatives)
        segment = Segment(start_s, end_s, *found)
        return segment if self.aligner is None else with_times(segment, decoded.frames, self.aligner)

    @property
    def can_stream(self) -> bool:
        """Whether the encoder has chunks."""
        return self._decoder.chunk_frames is not None

    def stream(
        self, lang: str, decode: Callable[[Example, ChunkCache], Decoded] | None = None, by_hand: bool = False
    ) -> Stream:
        """Start to transcribe a stream in this language. Raises ValueError; also for the regime full.

        decode: decodes its pieces; None: this transcriber, at once. by_hand: pauses do not end segments.
        """
        self._check(lang)
        endpoints = Endpoints(self.longest_s, stream_detector(self._voiced, by_hand), by_hand)
        search = (decode or self._decode_growing, self._decoder.chunk_frames)
        return Stream(
            *search, read=self._read, language=self.languages[lang], endpoints=endpoints, segment=self._segment
        )

    def _decode_growing(self, example: Example, cache: ChunkCache) -> Decoded:
        (decoded,) = self._decoder.run([[example]], Hooks(cache=lambda _: cache))
        return decoded

    def _check(self, lang: str) -> None:
        if lang not in self.languages:
            known = [AUTO, *self.languages.codes]
            raise ValueError(f"language {lang!r} is not one of the model's; {nearest(lang, known)}")

    def examples(self, job: Job, pending: dict[str, Pending]) -> Iterator[Example]:
        """Pieces of a recording to decode; silent ones go directly into the job."""
        number = 0
        try:
            if job.recording.hints and not self.takes_hints:
                raise ValueError(NO_HINTS)
            for number, piece in enumerate(self._pieces(job), 1):
                if piece.reason:
                    job.segments[number - 1] = Segment(piece.start_s, piece.end_s, "", piece.reason)
                    continue
                samples = torch.from_numpy(piece.samples)
                if not job.lang:
                    job.lang_probs = self.detector(samples)
                    job.lang = max(job.lang_probs, key=job.lang_probs.__getitem__)
                if job.recording.hints and job.phrases is None:
                    spaced = self.languages[job.lang].unit == "wer"
                    job.phrases = self.hint_lists.prepared(job.recording.hints, spaced)
                example = self._read.of_audio(str(next(self._keys)), job.lang, samples)
                start_s = piece.start_s + example.start / SAMPLE_RATE
                end_s = start_s + example.num_samples / SAMPLE_RATE
                pending[example.utt_id] = Pending(job, number - 1, start_s, end_s)
                yield example
        except (ValueError, OSError) as error:
            job.failure = error
        job.num_pieces = number

    def _pieces(self, job: Job) -> Iterator[Piece]:
        for piece in cut_at_pauses(job.recording.blocks(), self.longest_s, self._voiced):
            job.duration_s = piece.end_s
            yield from (piece,) if self._voiced is None else keep_voiced(piece, self._voiced)

    def _mixture(self, job: Job) -> Mapping[str, float] | None:
        return job.lang_probs if self.soft and job.lang_probs else None
