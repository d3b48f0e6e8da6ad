"""Recordings that arrive at any time, with `engine: vllm`, in its environment. Prints JSON for test_live_vllm.py.

Usage: python -m tests.transcribe.live_in_vllm MODEL SETTINGS RECORDINGS, where SETTINGS is JSON of a `DecodeConfig` and
RECORDINGS an .npz of samples by `number_language`.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import closing

import numpy as np

from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.loops import LoopGuard
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.live import LiveTranscriber
from zipperasr.transcribe.live_state import DecodingFailed
from zipperasr.transcribe.transcript import Transcript

WAIT_S = 300  # upper limit for waiting; not a measurement


def found(transcript: Transcript) -> list:
    return [
        [one.text, one.note, one.avg_logprob, [token.logprob for token in one.tokens]] for one in transcript.segments
    ]


def together(live: LiveTranscriber, recordings: dict[str, np.ndarray]) -> dict[str, list]:
    """All recordings at the same time."""
    asked = {name: live.submit(samples, name.split("_")[1]) for name, samples in recordings.items()}
    return {name: found(request.future.result(WAIT_S)) for name, request in asked.items()}


def dropped(live: LiveTranscriber, recordings: dict[str, np.ndarray]) -> dict:
    """Cancel a request between two steps; another one continues."""
    held, released = threading.Event(), threading.Event()
    engine = live.transcriber._vllm._llm.llm_engine
    step, unfinished = engine.step, []

    def slow_step() -> list:
        answers = step()
        held.set()
        released.wait(WAIT_S)
        unfinished.append(engine.get_num_unfinished_requests())
        return answers

    engine.step = slow_step
    (name, samples), *_ = recordings.items()
    cancelled = live.submit(samples, "es")
    held.wait(WAIT_S)
    cancelled.future.cancel()
    other = live.submit(samples, name.split("_")[1])
    released.set()
    text = found(other.future.result(WAIT_S))
    del engine.step
    return {"other": text, "unfinished": unfinished, "left": engine.get_num_unfinished_requests()}


def failing(live: LiveTranscriber, recordings: dict[str, np.ndarray]) -> dict:
    """The encoder fails for one language while another one is in the search."""
    encode, started = Decoder._encode_batch, threading.Event()

    def sometimes(self, examples, hooks):
        if examples[0].language == "ja":
            raise RuntimeError("out of memory")
        started.set()
        return encode(self, examples, hooks)

    Decoder._encode_batch = sometimes
    longest = max(recordings.values(), key=len)
    asked = [live.submit(longest, "de")]
    started.wait(WAIT_S)
    asked.append(live.submit(longest, "ja"))
    outcomes = []
    for request in asked:
        try:
            outcomes.append(request.future.result(WAIT_S).text)
        except DecodingFailed as error:
            outcomes.append(str(error))
    Decoder._encode_batch = encode
    engine = live.transcriber._vllm._llm.llm_engine
    return {"outcomes": outcomes, "left": engine.get_num_unfinished_requests()}


def raw_tokens(transcriber: Transcriber, recordings: dict[str, np.ndarray]) -> list:
    """The size of the n-grams that may not repeat and the tokens of each recording, before a loop is cut."""
    seen, without_loop = [], LoopGuard.cut

    def watched(self, one):
        seen.append([one.no_repeat, list(one.tokens)])
        return without_loop(self, one)

    LoopGuard.cut = watched
    try:
        for name, samples in recordings.items():
            transcriber(samples, name.split("_")[1])
    finally:
        LoopGuard.cut = without_loop
    return seen


def streamed(transcriber: Transcriber, samples: np.ndarray) -> list[str]:
    stream = transcriber.stream("de")
    return [event.text for event in [*stream.feed(samples), *stream.finish()]]


def main(model: str, settings: str, recordings: str) -> None:
    with np.load(recordings) as loaded:
        asked = dict(loaded)
    transcriber = Transcriber.from_pretrained(model, "cpu", DecodeConfig(**json.loads(settings)))
    with closing(transcriber):
        with closing(LiveTranscriber(transcriber, 32)) as live:
            results = {
                "together": together(live, asked),
                "dropped": dropped(live, asked),
                "failing": failing(live, asked),
            }
            results["again"] = together(live, asked)
        results["raw"] = raw_tokens(transcriber, asked)
        results["stream"] = streamed(transcriber, max(asked.values(), key=len))
        results["hints"] = transcriber.takes_hints
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
