"""What fails ends one request, or one batch, and never the service."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from itertools import pairwise

import pytest
import torch

from tests.transcribe.sound import RATE, noise, silence
from tests.transcribe.transcripts import without_rounding
from tests.transcribe.watched import LONG, WAIT_S, live
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.greedy import GreedySearch
from zipperasr.transcribe import live_state
from zipperasr.transcribe.live import DecodingFailed
from zipperasr.transcribe.sources import Recording


def test_an_exception_of_the_model_ends_the_requests_in_its_batch_and_no_others(own, monkeypatch, capsys):
    encode = Decoder._encode_batch
    broken = {"ja"}

    def sometimes(self, examples, hooks):
        if examples[0].language in broken:
            raise RuntimeError("out of memory")
        return encode(self, examples, hooks)

    monkeypatch.setattr(Decoder, "_encode_batch", sometimes)
    with live(own) as together:
        bad = together.submit(noise(1), "ja")
        together.wait_until_prepared(bad)
        together.gate.set()
        with pytest.raises(DecodingFailed, match="RuntimeError"):
            bad.future.result(WAIT_S)
        good = together.submit(noise(1), "de")
        text = good.future.result(WAIT_S).text
        broken.clear()
        again = together.submit(noise(1), "ja").future.result(WAIT_S).text
    assert text == own(noise(1), "de").text and again == own(noise(1), "ja").text
    assert "RuntimeError: out of memory" in capsys.readouterr().err


def test_an_exception_after_the_search_ends_one_request(own, monkeypatch):
    keep = own.keep

    def sometimes(decoded, piece):
        if len(piece.job.recording.audio) == 2 * RATE:
            raise RuntimeError("no times")
        keep(decoded, piece)

    monkeypatch.setattr(own, "keep", sometimes)
    with live(own) as together:
        bad, good = together.submit(noise(2), "de"), together.submit(noise(1), "de")
        together.wait_until_prepared(bad, good)
        together.gate.set()
        with pytest.raises(DecodingFailed, match="RuntimeError"):
            bad.future.result(WAIT_S)
        assert good.future.result(WAIT_S).duration_s == 1
        assert together.num_running == together.rows_in_use == 0


def test_an_unusable_recording_fails_alone(own, monkeypatch):
    with live(own) as together:
        examples = own.examples

        def broken(job, pending):
            yield from examples(job, pending)
            raise RuntimeError("bad audio")

        fine = together.submit(noise(1), "de")
        monkeypatch.setattr(own, "examples", broken)
        bad = together.submit(noise(1, 2), "de")
        together.gate.set()
        with pytest.raises(RuntimeError, match="bad audio"):
            bad.future.result(WAIT_S)
        assert fine.future.result(WAIT_S).duration_s == 1


def test_after_an_exception_of_the_search_the_encoder_starts_again(own, monkeypatch, capsys):
    choose = GreedySearch._choose

    def broken(self, *arguments):
        monkeypatch.setattr(GreedySearch, "_choose", choose)
        raise RuntimeError("out of memory")

    wanted = own(noise(1), "ja").text
    monkeypatch.setattr(GreedySearch, "_choose", broken)
    with live(own) as together:
        together.gate.set()
        with pytest.raises(DecodingFailed, match="RuntimeError"):
            together.submit(noise(1), "ja").future.result(WAIT_S)
        assert together.submit(noise(1), "ja").future.result(WAIT_S).text == wanted
        assert together.rows_in_use == 0
    assert not any(layer.merged for layer in own.opened.model.adapters.layers.values())
    assert capsys.readouterr().err.count("RuntimeError: out of memory") == 1


def test_an_exception_of_the_encoder_leaves_what_is_in_the_search(own, monkeypatch):
    """The search is held until the encoder has failed."""
    encode, failed = Decoder._encode_batch, threading.Event()

    def sometimes(self, examples, hooks):
        if examples[0].language == "ja":
            raise RuntimeError("out of memory")
        return encode(self, examples, hooks)

    wanted = without_rounding(own(noise(1), "de"))
    monkeypatch.setattr(Decoder, "_encode_batch", sometimes)
    with live(own) as together:
        together.before_token = lambda: failed.wait(WAIT_S)
        together.gate.set()
        good, bad = together.submit(noise(1), "de"), together.submit(noise(1), "ja")
        with pytest.raises(DecodingFailed):
            bad.future.result(WAIT_S)
        failed.set()
        assert without_rounding(good.future.result(WAIT_S)) == wanted
        assert together.rows_in_use == 0


@pytest.mark.parametrize("samples", [noise(1), silence(2)], ids=["after the search", "while it is prepared"])
def test_an_exception_of_the_callers_function_ends_its_request(own, samples):
    def told(_):
        raise RuntimeError("told")

    with live(own) as together:
        together.gate.set()
        bad = together.submit(samples, "de", on_segment=told)
        with pytest.raises(RuntimeError):
            bad.future.result(WAIT_S)
        assert together.submit(noise(1), "de").future.result(WAIT_S).duration_s == 1


def test_requests_are_answered_if_nobody_reads_the_log(own, monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr(own, "keep", lambda *_: 1 / 0)
    with live(own) as together:
        together.gate.set()
        monkeypatch.setattr(sys, "stderr", Closed())
        for _ in range(2):
            with pytest.raises(DecodingFailed):
                together.submit(noise(1), "de").future.result(WAIT_S)


def test_a_model_that_always_fails_is_asked_less_and_less_often(own, monkeypatch, capsys):
    monkeypatch.setattr(live_state, "FIRST_PAUSE_S", 0.01)
    encode, runs = Decoder.run_live, []

    def broken(self, batches, hooks):
        runs.append(time.monotonic())
        if len(runs) <= live_state.MANY_FAILURES:
            raise RuntimeError("device-side assert triggered")
        yield from encode(self, batches, hooks)

    monkeypatch.setattr(Decoder, "run_live", broken)
    with live(own) as together:
        together.gate.set()
        deadline = time.monotonic() + WAIT_S
        while not together.is_failing and time.monotonic() < deadline:
            time.sleep(0.001)
        assert together.is_failing
        assert together.submit(noise(1), "de").future.result(WAIT_S).duration_s == 1
        assert not together.is_failing
    pauses = [after - before for before, after in pairwise(runs)]
    assert all(pause >= 0.01 * 2**number for number, pause in enumerate(pauses))
    assert capsys.readouterr().err.count("RuntimeError: device-side assert") == live_state.MANY_FAILURES


def test_finished_and_failed_requests_are_freed_without_a_search_for_cycles(own, monkeypatch):
    encode, held = Decoder._encode_batch, []

    class Activations:
        pass

    def sometimes(self, examples, hooks):
        activations = Activations()
        held.append(weakref.ref(activations))
        if examples[0].language == "ja":
            raise RuntimeError("out of memory")
        return encode(self, examples, hooks)

    monkeypatch.setattr(Decoder, "_encode_batch", sometimes)
    gc.collect()
    gc.disable()
    try:
        with live(own) as together:
            together.gate.set()
            request = together.submit(noise(1), "de")
            request.future.result(WAIT_S)
            finished = weakref.ref(request)
            del request
            with pytest.raises(DecodingFailed):
                together.submit(noise(1), "ja").future.result(WAIT_S)
            deadline = time.monotonic() + WAIT_S
            while (finished() or any(one() for one in held)) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(held) == 2 and finished() is None and not any(one() for one in held)
    finally:
        gc.enable()


def test_a_call_ends_one_that_was_interrupted(own):
    """Its adapters would stay merged: it is suspended, and an exception's traceback may keep it."""
    weights = [layer.base.weight.clone() for layer in own.opened.model.adapters.layers.values()]
    wanted = own(noise(1), "es").text
    recordings = [Recording("a", noise(1)), Recording("b", LONG), Recording("c", noise(1))]
    interrupted = own.transcribe(recordings, "de")
    next(interrupted)
    assert own(noise(1), "es").text == wanted
    layers = own.opened.model.adapters.layers.values()
    assert all(torch.equal(layer.base.weight, kept) for layer, kept in zip(layers, weights, strict=True))
    with pytest.raises(RuntimeError, match="ended by another call; read all results of a call before the next one"):
        list(interrupted)
    assert own(noise(1), "es").text == wanted
