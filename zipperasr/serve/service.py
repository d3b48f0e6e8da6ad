"""The model behind the server: transcribes samples in the model's thread and describes itself to the page.

Whisper, which detects the language, is loaded at the start, so the first request is not slower than the others.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from zipperasr.cli import log
from zipperasr.decode.phrases import Phrase
from zipperasr.lora.injection import LanguageAdapters
from zipperasr.lora.router import router_options
from zipperasr.serve.limits import Limits
from zipperasr.serve.model_queue import ModelQueue, give_up_if
from zipperasr.serve.upload import Uploads
from zipperasr.transcribe.sources import ENDINGS, Recording
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.transcript import Transcript

_LAYER = re.compile(r"layers\.(\d+)\.(?:self_attn\.)?(.+)")


@dataclass(frozen=True)
class Recognised:
    """A transcript and the time it took."""

    transcript: Transcript
    waited_s: float  # in the queue
    transcribed_s: float


class Service:
    """One model, its limits and its queue."""

    def __init__(self, transcriber: Transcriber, name: str, limits: Limits):
        self.transcriber, self.name, self.limits = transcriber, name, limits
        self.queue, self.uploads = ModelQueue(limits.max_waiting), Uploads(limits)
        self.created = int(time.time())
        self.detects = _can_detect(transcriber)

    async def recognise(self, samples: np.ndarray, lang: str, hints: tuple[Phrase, ...] = ()) -> Recognised:
        """Transcribe one recording. samples: (num_samples,), 16 kHz. lang: a language code of the model, or `auto`."""
        recording = Recording("upload", samples, hints=hints)
        asked = time.monotonic()

        def work(stop: threading.Event) -> Recognised:
            start = time.monotonic()
            transcript = self._transcribe(recording, lang, stop)
            return Recognised(transcript, start - asked, time.monotonic() - start)

        return await self.queue.run(work)

    def _transcribe(self, recording: Recording, lang: str, stop: threading.Event) -> Transcript:
        """Raises GivenUp once `stop` is set: before the next token or after the current batch of the encoder."""
        check = partial(give_up_if, stop)
        ((_, found),) = self.transcriber.transcribe([recording], lang, check)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Accept no more work; running work stops at its next token or block."""
        self.queue.close()
        self.uploads.close()

    def described(self) -> dict:
        """The model's name, languages, limits and router weights, for the page."""
        return {
            "model": self.name,
            "languages": [{"code": one.code, "name": one.name} for one in self.transcriber.languages],
            "limits": {"max_mb": self.limits.max_mb, "max_s": self.limits.max_s, "timeout_s": self.limits.timeout_s},
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
