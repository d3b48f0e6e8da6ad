"""The model behind the server: transcribes the samples of many requests at once and describes itself to the page.

Whisper, which detects the language, is loaded at the start, so the first request is not slower than the others.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from zipperasr.cli import log
from zipperasr.decode.phrases import Phrase
from zipperasr.lora.injection import LanguageAdapters
from zipperasr.lora.router import router_options
from zipperasr.serve.errors import model_failed, shutting_down
from zipperasr.serve.limits import Limits
from zipperasr.serve.model_queue import ModelQueue, StreamSlots
from zipperasr.serve.samples import Sample
from zipperasr.serve.upload import Uploads
from zipperasr.transcribe.live import LiveTranscriber
from zipperasr.transcribe.live_state import DecodingFailed
from zipperasr.transcribe.sources import ENDINGS
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.transcript import Segment, Transcript

_LAYER = re.compile(r"layers\.(\d+)\.(?:self_attn\.)?(.+)")


@dataclass(frozen=True)
class Recognised:
    """A transcript and the time it took."""

    transcript: Transcript
    waited_s: float  # until work on it started
    transcribed_s: float  # from then on


class Service:
    """One model, its limits and its queue."""

    def __init__(
        self, transcriber: Transcriber, name: str, limits: Limits, samples: Mapping[str, Sample] | None = None
    ):
        self.transcriber, self.name, self.limits = transcriber, name, limits
        self.samples = samples or {}  # recordings to try, by language
        self.queue, self.uploads = ModelQueue(limits.max_held), Uploads(limits)
        self.streams = StreamSlots(self.queue, limits.max_streams)
        self.created = int(time.time())
        self.detects = _can_detect(transcriber)
        self.live = LiveTranscriber(transcriber, limits.max_running)

    async def recognise(
        self,
        samples: np.ndarray,
        lang: str,
        hints: tuple[Phrase, ...] = (),
        on_segment: Callable[[Segment], None] = lambda _: None,
    ) -> Recognised:
        """Transcribe one recording.

        If cancelled, it frees its place in the queue, or its rows of the search before the next token. Raises ApiError
        if the model fails.

        Args:
            samples: (num_samples,), 16 kHz.
            lang: a language code of the model, or `auto`.
            hints: phrases that may be said.
            on_segment: called in the event loop with each segment, in order and as soon as possible.
        """
        if self.queue.is_closed:  # since the upload
            raise shutting_down()
        loop = asyncio.get_running_loop()

        def tell(segment: Segment) -> None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(on_segment, segment)

        request = self.live.submit(samples, lang, hints, tell)
        try:
            transcript = await asyncio.wrap_future(request.future)
        except DecodingFailed as error:
            raise model_failed(error) from error
        started = request.started or request.arrived
        return Recognised(transcript, started - request.arrived, time.monotonic() - started)

    def refuse_further(self) -> None:
        """Refuse new and waiting requests, because the server stops; running ones continue."""
        self.queue.is_closed = True
        self.live.refuse_waiting(shutting_down())
        self.streams.stop()

    def close(self) -> None:
        """Stop running work at its next token, batch of the encoder, or block of audio."""
        self.uploads.close()
        self.live.close()
        self.streams.close()

    def described(self) -> dict:
        """The model's name, languages, limits and router weights, for the page."""
        return {
            "model": self.name,
            "languages": [{"code": one.code, "name": one.name} for one in self.transcriber.languages],
            "limits": {"max_mb": self.limits.max_mb, "max_s": self.limits.max_s, "timeout_s": self.limits.timeout_s},
            "longest_s": self.transcriber.longest_s,  # of a piece of a recording
            "streams": self.transcriber.can_stream,
            "samples": {code: sample.text for code, sample in self.samples.items()},
            "endings": ENDINGS,  # file extensions that the server reads
            "router": router_weights(self.transcriber.opened.model.adapters),
        }


def _can_detect(transcriber: Transcriber) -> bool:
    """Load the language detector; False, with a line in the log, if the model has none."""
    try:
        _ = transcriber.detector
    except ValueError as error:
        log(f"languages cannot be detected, requests have to name one: {error}")
        return False
    return True


def router_weights(adapters: LanguageAdapters | None) -> dict | None:
    """Table of p(l) per adapted layer, averaged over ranks; None if the model has no router.

    {"high": which columns of B a high p selects, "columns": projections,
     "rows": [{"layer": number, "p": {code: [a value or None for each column]}}]}
    """
    if adapters is None:
        return None
    shares = adapters.specific_shares()  # (layers, languages, rank)
    if shares is None:
        return None
    rows: dict[int, dict[str, list[float]]] = {}
    columns: list[str] = []
    for name, by_language in zip(adapters.layers, shares.float().mean(-1).tolist(), strict=True):
        found = _LAYER.fullmatch(name)
        number, column = (int(found[1]), found[2]) if found else (-1, name)
        if column not in columns:
            columns.append(column)
        rows.setdefault(number, {})[column] = by_language
    table = [
        {
            "layer": layer,
            "p": {
                code: [cells[column][bank] if column in cells else None for column in columns]
                for bank, code in enumerate(adapters.language_codes)
            },
        }
        for layer, cells in sorted(rows.items())
    ]
    options = router_options(next(iter(adapters.layers.values())).options)
    high = "own" if options.share_is_specific else "shared"
    return {"high": high, "columns": columns, "rows": table}
