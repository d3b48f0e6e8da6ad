"""Recordings that arrive at any time share batches, and none depends on another."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import noise, silence
from tests.transcribe.transcripts import without_rounding
from tests.transcribe.watched import LONG, WAIT_S, live
from zipperasr.decode.decoder import Decoder
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.live import DecodingFailed, LiveTranscriber


def test_transcripts_of_many_languages_and_lengths_equal_those_of_one_at_a_time(own):
    asked = [(noise(0.5 + 0.6 * n, n), ("de", "es", "ja", "auto")[n % 4]) for n in range(12)]
    asked += [(LONG, "es"), (silence(2), "auto"), (silence(2), "de"), (LONG, "auto"), (noise(0.03), "ja")]
    alone = [without_rounding(own(samples, lang)) for samples, lang in asked]
    assert len({one.text for one in alone}) > 10
    with live(own) as together:
        requests = [together.submit(samples, lang) for samples, lang in asked]
        together.wait_until_prepared(*requests)
        together.gate.set()
        assert [without_rounding(request.future.result(WAIT_S)) for request in requests] == alone
        later = [together.submit(samples, lang) for samples, lang in asked[::-1]]
        assert [without_rounding(request.future.result(WAIT_S)) for request in later] == alone[::-1]
        assert together.num_running == together.num_waiting == together.rows_in_use == 0
        assert max(len(batch) for batch in together.taken) > 1
    assert all(len({example.language for example in batch}) == 1 for batch in together.taken)
    assert together.most_rows == SHORT.batch_size
    assert without_rounding(own(*asked[0])) == alone[0], "no adapters are left merged"


def test_a_short_request_overtakes_a_long_one_that_came_first(own):
    with live(own) as together:
        ended = []
        long, short = together.submit(LONG, "de"), together.submit(noise(1), "es")
        for name, request in (("long", long), ("short", short)):
            request.future.add_done_callback(lambda _, name=name: ended.append(name))
        together.wait_until_prepared(long, short)
        together.gate.set()
        assert len(long.future.result(WAIT_S).segments) == 8
    assert ended == ["short", "long"]
    languages = [batch[0].language for batch in together.taken]
    assert languages.index("es") == 0, "its piece is the shortest"


def test_no_request_waits_while_more_is_prepared_of_another(own):
    """The order of preparation without an encoder: first one piece of each, then in turns up to 30 s of audio."""
    with live(own) as together:
        order = []
        add = together._queue.add
        together._queue.add = lambda request, example: (order.append(request), add(request, example))
        with together._changed:  # preparation starts when all have arrived
            requests = [together.submit(samples, "de") for samples in (LONG, noise(1), LONG, noise(2))]
            together._changed.notify_all()
        first, _, second, _ = requests
        with together._changed:
            assert together._changed.wait_for(lambda: min(first.ready_s, second.ready_s) >= 30, WAIT_S)
        assert order[:4] == requests
        assert order[4:8] == [first, second] * 2
        assert 30 <= first.ready_s < 38 and 30 <= second.ready_s < 38, "a piece is up to 8 s long"
        together.submit(noise(1, 3), "es")
        with together._changed:
            assert together._changed.wait_for(lambda: order[-1].job.lang == "es", WAIT_S)
        assert all(request.started is not None for request in requests) and not together.taken


def test_on_segment_gets_segments_in_order_as_soon_as_those_before_are_known(own):
    told, speech = [], [silence(12), LONG, silence(9), noise(2)]
    with live(own) as together:
        request = together.submit(np.concatenate(speech), "de", on_segment=told.append)
        together.gate.set()
        found = request.future.result(WAIT_S)
        assert tuple(told) == found.segments and len(told) > 10
        told.clear()
        cancelled = together.submit(LONG, "de", on_segment=told.append)
        cancelled.future.cancel()
        together.submit(noise(1), "es").future.result(WAIT_S)
        assert len(told) < 8


def test_the_time_in_the_queue_ends_when_work_on_the_request_starts(own):
    with live(own, max_running=1) as together:
        first, second = together.submit(noise(1), "de"), together.submit(noise(1), "de")
        together.wait_until_prepared(first)
        assert first.arrived <= first.started and second.started is None
        together.gate.set()
        second.future.result(WAIT_S)
        assert second.started > first.started


def test_at_most_max_running_requests_share_batches(own):
    with live(own, max_running=2) as together:
        requests = [together.submit(noise(1, n), "de") for n in range(5)]
        together.wait_until_prepared(*requests[:2])
        assert (together.num_running, together.num_waiting) == (2, 3)
        together.refuse_waiting(ValueError("closing"))
        together.gate.set()
        for request in requests[2:]:
            with pytest.raises(ValueError, match="closing"):
                request.future.result(WAIT_S)
        assert all(request.future.result(WAIT_S).duration_s == 1 for request in requests[:2])


def test_cancelling_frees_rows_at_the_next_token_and_removes_pieces(own):
    """The search is held before a token; the rows of the cancelled request are free after it."""
    held, released = threading.Event(), threading.Event()
    with live(own) as together:
        together.before_token = lambda: (held.set(), released.wait(WAIT_S))
        together.gate.set()
        cancelled = together.submit(LONG, "de")
        assert held.wait(WAIT_S)
        other = together.submit(noise(1), "es")
        together.wait_until_prepared(other)
        cancelled.future.cancel()
        assert together.num_running == 1 and not cancelled.ready
        released.set()
        found = other.future.result(WAIT_S)
    german = [is_dropped for language, is_dropped in together.looks if language == "de"]
    assert german and all(german)
    assert [batch[0].language for batch in together.taken].count("es") == 1
    assert sum(len(batch) for batch in together.taken) <= SHORT.batch_size + 1, "of eight pieces and one"
    with pytest.raises(CancelledError):
        cancelled.future.result()
    assert without_rounding(found) == without_rounding(own(noise(1), "es"))


def test_the_search_continues_while_the_encoder_is_busy(own, monkeypatch):
    """Each waits for the other: tokens until the encoder has begun the second request, which waits for the first."""
    encode, begun, finished = Decoder._encode_batch, threading.Event(), threading.Event()

    def held(self, examples, hooks):
        if examples[0].language == "es":
            begun.set()
            assert finished.wait(WAIT_S)
        return encode(self, examples, hooks)

    wanted = without_rounding(own(noise(1), "es"))
    monkeypatch.setattr(Decoder, "_encode_batch", held)
    with live(own) as together:
        together.before_token = lambda: begun.wait(WAIT_S)
        together.gate.set()
        first, second = together.submit(noise(1), "de"), together.submit(noise(1), "es")
        first.future.result(WAIT_S)
        assert not second.future.done()
        finished.set()
        assert without_rounding(second.future.result(WAIT_S)) == wanted


def test_closing_cancels_all_requests_and_later_ones(own):
    with live(own) as together:
        asked = [together.submit(LONG, "de"), together.submit(noise(1), "es")]
        together.wait_until_prepared(*asked)
    assert all(request.future.cancelled() for request in asked)
    assert together.submit(noise(1), "de").future.cancelled()
    assert not any(thread.is_alive() for thread in together._threads)


def test_the_time_of_the_model_is_counted_only_while_it_has_pieces(own):
    with live(own) as together:
        together.gate.set()
        together.submit(noise(1), "de").future.result(WAIT_S)
        while together._busy._idle_since is None:
            time.sleep(0.01)
        assert 0 < together.busy_s == pytest.approx(together.busy_s, abs=1e-9)


def test_a_transcriber_that_averages_adapters_is_refused(own):
    with pytest.raises(ValueError, match="recordings that share batches need soft=False"):
        LiveTranscriber(Transcriber(own.opened, SHORT, soft=True), 1)


@pytest.fixture(scope="module")
def beam(own) -> Transcriber:
    return Transcriber(own.opened, dataclasses.replace(SHORT, beam=3, nbest=3, retry_loops=False))


def test_transcripts_and_alternatives_of_beam_search_equal_those_of_one_at_a_time(beam):
    asked = [(noise(0.5 + 0.6 * n, n), ("de", "es", "ja", "auto")[n % 4]) for n in range(6)]
    asked += [(LONG, "es"), (silence(2), "auto"), (LONG, "auto")]
    alone = [beam(samples, lang) for samples, lang in asked]
    with live(beam) as together:
        requests = [together.submit(samples, lang) for samples, lang in asked]
        together.gate.set()
        found = [request.future.result(WAIT_S) for request in requests]
        assert together.num_running == together.rows_in_use == 0
        assert max(len(batch) for batch in together.taken) > 1
    assert [one.text for one in found] == [one.text for one in alone]
    for one, other in zip(found, alone, strict=True):
        for segment, wanted in zip(one.segments, other.segments, strict=True):
            assert [text for text, _ in segment.alternatives] == [text for text, _ in wanted.alternatives]
            scores = [score for _, score in wanted.alternatives]
            assert [score for _, score in segment.alternatives] == pytest.approx(scores, abs=1e-4)
            assert not segment.text or segment.alternatives[0].text == segment.text


def test_pieces_of_a_cancelled_request_are_not_searched_and_others_continue(beam, monkeypatch):
    with live(beam) as together:
        cancelled, other = together.submit(LONG, "de"), together.submit(noise(1), "es")
        together.wait_until_prepared(cancelled, other)
        together.before_token = lambda: cancelled.future.cancel()
        together.gate.set()
        found = other.future.result(WAIT_S)
        assert together.rows_in_use == 0
    assert found.text == beam(noise(1), "es").text
    assert together.looks and all(is_dropped == (language == "de") for language, is_dropped in together.looks)


def test_an_exception_of_beam_search_ends_the_requests_in_its_batch_and_no_others(beam, monkeypatch, capsys):
    generate, broken = beam.opened.model.llm.generate, [True]

    def sometimes(**settings):
        if broken:
            broken.pop()
            raise RuntimeError("out of memory")
        return generate(**settings)

    monkeypatch.setattr(beam.opened.model.llm, "generate", sometimes)
    with live(beam) as together:
        together.gate.set()
        with pytest.raises(DecodingFailed, match="RuntimeError"):
            together.submit(noise(1), "ja").future.result(WAIT_S)
        assert together.submit(noise(1), "de").future.result(WAIT_S).text == beam(noise(1), "de").text
    assert "RuntimeError: out of memory" in capsys.readouterr().err
