"""Streams share batches with each other and with recordings, and have the texts that they have alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from tests.transcribe.sound import noise
from tests.transcribe.test_live import LONG, WAIT_S, live
from tests.transcribe.test_stream import finals, pcm, voices, with_settings
from zipperasr.decode.decoder import Decoder
from zipperasr.transcribe import Segment, Transcriber
from zipperasr.transcribe.live_state import DecodingFailed
from zipperasr.transcribe.live_stream import LiveStream, StreamCancelled
from zipperasr.transcribe.pcm import PcmReader
from zipperasr.transcribe.stream import Partial


@pytest.fixture(scope="module")
def own(transcriber) -> Transcriber:
    """Chunks of 0.5 s, pieces of at most 8 s."""
    return with_settings(transcriber.opened, longest_s=8.0)


def alone(own: Transcriber, data: bytes, lang: str) -> list[Partial | Segment]:
    stream = own.stream(lang)
    samples = PcmReader().read(data)
    return [*stream.feed(samples), *stream.finish()]


def alone_by_hand(own: Transcriber, samples: np.ndarray) -> list[Partial | Segment]:
    stream = own.stream("de", by_hand=True)
    return [*stream.feed(PcmReader().read(pcm(samples))), *stream.finish()]


def texts(found: list[Partial | Segment]) -> list[tuple[str, str]]:
    return [(type(event).__name__, event.text) for event in found]


def test_streams_and_recordings_share_batches_and_have_the_texts_that_they_have_alone(own):
    data = {lang: pcm(voices(0.8, 0.9, quiet=number)) for number, lang in enumerate(["de", "es", "ja"])}
    wanted = {lang: texts(alone(own, one, lang)) for lang, one in data.items()}
    recording = own(LONG, "de").text
    assert all(len(one) > 4 for one in wanted.values())
    with live(own) as together:
        posted = together.submit(LONG, "de")
        together.gate.set()

        def spoken(lang: str) -> list[tuple[str, str]]:
            stream = LiveStream(together, lang)
            return texts(stream.feed(data[lang]) + stream.commit())

        with ThreadPoolExecutor(6) as pool:
            asked = [(lang, pool.submit(spoken, lang)) for lang in list(data) * 2]
            for lang, one in asked:
                assert one.result(WAIT_S) == wanted[lang]
        assert posted.future.result(WAIT_S).text == recording
        assert any(len(batch) > 1 and any(one.utt_id.startswith("stream") for one in batch) for batch in together.taken)
        assert together.rows_in_use == 0 and not together._pieces


def test_a_piece_is_never_behind_a_long_recording_by_more_than_a_batch(own):
    with live(own) as together:
        long = together.submit(LONG, "de")
        together.wait_until_prepared(long)
        stream, found = LiveStream(together, "es", by_hand=True), []
        thread = threading.Thread(target=lambda: found.extend(stream.feed(pcm(noise(1.0))) + stream.commit()))
        thread.start()
        with together._changed:
            assert together._changed.wait_for(lambda: len(together._queue) == 2, WAIT_S)
        together.gate.set()
        thread.join(WAIT_S)
        assert not long.future.done() and found
        long.future.cancel()
    languages = [batch[0].language for batch in together.taken]
    assert languages.index("es") <= 1


def test_cancelling_a_stream_frees_its_row(own):
    with live(own) as together:
        stream = LiveStream(together, "de")
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(stream.feed, pcm(voices(0.8)))
            with together._changed:
                assert together._changed.wait_for(lambda: len(together._queue) == 1, WAIT_S)
            stream.cancel()
            with pytest.raises(StreamCancelled):
                work.result(WAIT_S)
        assert not together._queue and not together._pieces
        with pytest.raises(StreamCancelled):
            stream.feed(pcm(voices(0.8)))
        together.gate.set()


def test_closing_ends_streams(own):
    with ThreadPoolExecutor(1) as pool, live(own) as together:
        stream = LiveStream(together, "de")
        work = pool.submit(stream.feed, pcm(voices(0.8)))
        with together._changed:
            assert together._changed.wait_for(lambda: len(together._queue) == 1, WAIT_S)
        together.close()
        with pytest.raises(StreamCancelled):
            work.result(WAIT_S)
        with pytest.raises(StreamCancelled):
            LiveStream(together, "de").feed(pcm(voices(0.8)))


def test_a_segment_that_the_model_cannot_decode_can_be_given_up(own, monkeypatch, capsys):
    encode, broken = Decoder._encode_batch, threading.Event()

    def sometimes(self, examples, hooks):
        if broken.is_set():
            raise RuntimeError("out of memory")
        return encode(self, examples, hooks)

    monkeypatch.setattr(Decoder, "_encode_batch", sometimes)
    closed = []
    with live(own) as together:
        together.gate.set()
        stream = LiveStream(together, "de", by_hand=True, closing=closed.append)
        broken.set()
        stream.feed(pcm(noise(0.4)))
        with pytest.raises(DecodingFailed):
            stream.commit()
        assert [piece.end_s for piece in closed] == [pytest.approx(0.4)]
        stream.stream.drop()
        broken.clear()
        stream.feed(pcm(noise(0.4, 2)))
        (segment,) = stream.commit()
    assert segment.text and segment.text == finals(alone_by_hand(own, noise(0.4, 2)))[0].text
    assert segment.end_s <= 0.8 + 1e-6 and segment.start_s >= 0.4 - 1e-6
    assert "out of memory" in capsys.readouterr().err


def test_segments_before_one_that_cannot_be_decoded_are_kept(own, monkeypatch, capsys):
    encode, data = Decoder._encode_batch, pcm(voices(0.8, 0.9, 0.8))
    with live(own) as together:
        together.gate.set()
        wanted = finals(LiveStream(together, "de").feed(data))
        stream = LiveStream(together, "de")

        def fails(self, examples, hooks):
            if stream.stream.closed is not None and stream.stream.closed.start_s >= wanted[1].start_s:
                raise RuntimeError("out of memory")
            return encode(self, examples, hooks)

        with monkeypatch.context() as broken:
            broken.setattr(Decoder, "_encode_batch", fails)
            with pytest.raises(DecodingFailed):
                stream.feed(data)
        stream.stream.drop()
        found = finals(stream.feed(b""))
    assert len(wanted) == 3 and texts(found) == texts([wanted[0], wanted[2]])
    assert not stream.take() and "out of memory" in capsys.readouterr().err


def test_a_stream_that_is_behind_skips_partial_texts_and_no_final_ones(own):
    samples = voices(0.8, 0.9)
    wanted = [*own.stream("de").feed(samples)]
    stream = own.stream("de")
    found = [*stream.feed(samples, lambda: True), *stream.finish()]
    assert found and found == finals(found)
    assert [one.text for one in found] == [one.text for one in finals(wanted)][: len(found)]
    assert 0 < stream.num_skipped <= sum(isinstance(one, Partial) for one in wanted)


def test_a_partial_text_that_fails_is_tried_once_per_chunk(own):
    tried = []

    def fails(example, cache):
        tried.append(example.num_samples)
        raise RuntimeError("out of memory")

    stream = own.stream("de", fails, by_hand=True)
    for block in np.array_split(noise(2.0), 40):
        with suppress(RuntimeError):
            list(stream.feed(block))
    assert tried == sorted(set(tried)) and len(tried) > 1


def test_finish_and_drop_leave_a_stream_that_continues_in_time(own):
    stream = own.stream("de", by_hand=True)
    list(stream.feed(noise(1.03)))
    (first,) = stream.finish()
    list(stream.feed(noise(0.5, 2)))
    stream.drop()
    list(stream.feed(noise(0.7, 3)))
    (second,) = stream.finish()
    assert first.end_s == pytest.approx(1.03) and second.start_s == pytest.approx(1.53)
    assert second.end_s == pytest.approx(2.23)
    assert not list(stream.finish())


def test_segments_by_hand_need_voice_and_are_cut_at_the_longest_length(own):
    stream = own.stream("de", by_hand=True)
    list(stream.feed(np.zeros(16_000, dtype=np.float32)))
    assert [one.text for one in stream.finish()] == [""], "of which a partial text was given"
    found = finals(list(stream.feed(noise(9.0))))
    assert len(found) == 1 and found[0].end_s - found[0].start_s <= 8.0
