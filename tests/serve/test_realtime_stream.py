"""Events of several segments that end in one block of samples."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace

from tests.serve.live import NAME
from tests.serve.test_realtime import COMPLETED, FAILED, RATE, SPEECH, streamed
from zipperasr.decode.decoder import Decoder
from zipperasr.serve.limits import Limits
from zipperasr.serve.realtime_stream import RealtimeStream
from zipperasr.serve.service import Service


def test_a_segment_that_fails_does_not_replace_the_one_before_it(chunked, monkeypatch, capsys):
    wanted, encode, told = streamed(chunked, SPEECH), Decoder._encode_batch, []

    async def feed(service: Service) -> None:
        stream = RealtimeStream(service, told.append)
        stream.settings = replace(stream.settings, language="de", rate=RATE)
        stream.start()

        def fails(self, examples, hooks):
            closed = stream._live.stream.closed
            if closed is not None and closed.start_s > wanted[0].end_s:
                raise RuntimeError("out of memory")
            return encode(self, examples, hooks)

        monkeypatch.setattr(Decoder, "_encode_batch", fails)
        await stream.feed(SPEECH, lambda: False)

    with closing(Service(chunked, NAME, Limits())) as service:
        asyncio.run(feed(service))
    ends = [event for event in told if event["type"] in (COMPLETED, FAILED)]
    assert [event["type"] for event in ends] == [COMPLETED, FAILED]
    assert ends[0]["transcript"] == wanted[0].text
    committed = [event["item_id"] for event in told if event["type"] == "input_audio_buffer.committed"]
    assert committed == [event["item_id"] for event in ends] and len(set(committed)) == 2
    assert "out of memory" in capsys.readouterr().err
