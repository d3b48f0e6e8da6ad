"""Parts of `streaming.py`: streams through the server at the pace of speech, and an hour through one stream."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from serve_load import served
from websockets.sync.client import ClientConnection, connect

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.markdown import table
from zipperasr.transcribe.pcm import PcmReader
from zipperasr.transcribe.stream_endpoints import HOP
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.transcript import Segment

BLOCK_S = 0.1
WAIT_S = 120.0
TEN_MINUTES_S = 600.0
STARTED = "input_audio_buffer.speech_started"
COMMITTED = "input_audio_buffer.committed"
DELTA, COMPLETED = (f"conversation.item.input_audio_transcription.{name}" for name in ("delta", "completed"))


@dataclass
class Spoken:
    """What a client saw of one stream; times in seconds."""

    texts: list[str] = field(default_factory=list)
    first_partial_s: list[float] = field(default_factory=list)  # after the segment's start was sent
    final_s: list[float] = field(default_factory=list)  # after the segment's end was sent
    computed_s: list[float] = field(default_factory=list)  # from `committed` to `completed`


def raw(samples: np.ndarray) -> bytes:
    """16-bit samples."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def at_once(model: Path, transcriber: Transcriber, streams: Mapping[str, np.ndarray], options: Sequence[str]) -> str:
    """Send all streams at the same time as fast as they are spoken; returns a table. streams: samples by language.

    Raises ValueError if a text differs from that of the stream alone, in this process.
    """
    busy, _, _ = os.getloadavg()
    with served(model, options) as (_, address), ThreadPoolExecutor(len(streams)) as pool:
        asked = {lang: pool.submit(_speak, address, lang, raw(samples)) for lang, samples in streams.items()}
        spoken = {lang: one.result() for lang, one in asked.items()}
    for lang, samples in streams.items():
        alone = texts_alone(transcriber, lang, raw(samples))
        if spoken[lang].texts != alone:
            raise ValueError(f"{lang}: the server's texts {spoken[lang].texts} differ from {alone}")
    rows = [
        ["first partial text after the segment's start", *_percentiles(spoken, "first_partial_s")],
        ["final text after the segment's end", *_percentiles(spoken, "final_s")],
        ["of which after the end was detected", *_percentiles(spoken, "computed_s")],
    ]
    number = sum(len(one.texts) for one in spoken.values())
    seconds = sum(map(len, streams.values())) / SAMPLE_RATE
    body = f"{len(streams)} streams at once, {seconds:.0f} s of speech in real time, each in another language; all "
    body += f"{number} final texts equal those of each stream alone. The load average was {busy:.1f} before.\n\n"
    return body + table(["seconds", "p50", "p95"], rows)


def texts_alone(transcriber: Transcriber, lang: str, data: bytes) -> list[str]:
    stream = transcriber.stream(lang)
    found = [*stream.feed(PcmReader().read(data)), *stream.finish()]
    return [one.text for one in found if isinstance(one, Segment)]


def _speak(address: str, lang: str, data: bytes) -> Spoken:
    url = f"{address.replace('http', 'ws')}/v1/realtime?intent=transcription&language={lang}"
    with connect(url, max_queue=None) as socket, ThreadPoolExecutor(1) as pool:
        given = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}}}}
        socket.send(json.dumps({"type": "session.update", "session": given}))
        size, start = 2 * int(BLOCK_S * SAMPLE_RATE), time.monotonic()
        listening = pool.submit(_listen, socket, start)
        for number, place in enumerate(range(0, len(data), size), 1):
            time.sleep(max(0.0, start + number * BLOCK_S - time.monotonic()))  # a block is sent when it has been spoken
            socket.send(data[place : place + size])
        for event_id in ("last", "end"):
            socket.send(json.dumps({"type": "input_audio_buffer.commit", "event_id": event_id}))
        return listening.result()


def _listen(socket: ClientConnection, start: float) -> Spoken:
    found, begun, committed = Spoken(), {}, {}
    while True:
        event = json.loads(socket.recv(WAIT_S))
        now, kind, item = time.monotonic() - start, event["type"], event.get("item_id")
        if kind == STARTED:
            begun[item] = event["audio_start_ms"] / 1000
        elif kind == DELTA and item in begun and item not in committed:
            found.first_partial_s.append(now - begun.pop(item))
        elif kind == COMMITTED:
            committed[item] = now
        elif kind == COMPLETED:
            found.texts.append(event["transcript"])
            found.final_s.append(now - event["zipperasr"]["end_s"])
            found.computed_s.append(now - committed[item])
        elif kind == "error":
            if event["error"]["event_id"] == "end":
                return found
            if event["error"]["code"] != "input_audio_buffer_commit_empty":
                raise ValueError(event["error"]["message"])


def _percentiles(spoken: Mapping[str, Spoken], name: str) -> list[str]:
    values = [value for one in spoken.values() for value in getattr(one, name)]
    return [f"{np.percentile(values, percent):.2f}" if values else "none" for percent in (50, 95)]


def long_stream(transcriber: Transcriber, streams: Mapping[str, np.ndarray], seconds: float) -> str:
    """Repeat the streams, one language after the other, in one stream of the first language; returns a table."""
    lang, cycle = next(iter(streams)), np.concatenate(list(streams.values()))
    stream, finals, marks = transcriber.stream(lang), 0, {}
    start = time.monotonic()
    for hop in range(int(seconds * SAMPLE_RATE) // HOP):
        place = hop * HOP % (len(cycle) - HOP)
        finals += sum(isinstance(one, Segment) for one in stream.feed(cycle[place : place + HOP]))
        if not marks and hop * HOP >= min(TEN_MINUTES_S, seconds / 6) * SAMPLE_RATE:
            marks[hop * HOP / SAMPLE_RATE] = _peak_mib()
    marks[seconds] = _peak_mib()
    finals += sum(isinstance(one, Segment) for one in stream.finish())
    took = time.monotonic() - start
    rows = [[f"{second / 60:.0f} min", f"{peak:.0f}"] for second, peak in marks.items()]
    body = f"One stream of {seconds / 60:.0f} min, {finals} segments, decoded in {took / 60:.1f} min.\n\n"
    return body + table(["after", "peak resident memory, MiB"], rows)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
