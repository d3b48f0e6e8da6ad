"""A stream gives the texts of its segments, whatever the blocks it arrives in, in constant memory."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import RATE, noise, silence, speech, with_pauses
from zipperasr.batching.batch import collate_speech
from zipperasr.decode.chunk_cache import ChunkCache, embed_speech
from zipperasr.decode.greedy import GreedySearch
from zipperasr.transcribe import Segment, Transcriber
from zipperasr.transcribe.__main__ import main
from zipperasr.transcribe.stream import Partial, Stream, agreed
from zipperasr.transcribe.stream_command import pcm_blocks
from zipperasr.transcribe.stream_endpoints import HOP, Endpoints
from zipperasr.transcribe.voice import EnergyStream


def with_settings(opened, longest_s: float | None = None, **model) -> Transcriber:
    changed = dataclasses.replace(opened.experiment.model, decode_chunk_s=0.5, **model)
    experiment = dataclasses.replace(opened.experiment, longest_s=longest_s, model=changed)
    return Transcriber(dataclasses.replace(opened, experiment=experiment), SHORT)


@pytest.fixture(scope="module")
def transcriber_of_chunks(transcriber) -> Transcriber:
    """With chunks of 0.5 s, whose 25 encoder frames do not fill the projector's windows of 4."""
    return with_settings(transcriber.opened)


def events(stream: Stream, samples: np.ndarray, size_s: float = 0.1) -> list[Partial | Segment]:
    size = int(size_s * RATE)
    found = [event for start in range(0, len(samples), size) for event in stream.feed(samples[start : start + size])]
    return [*found, *stream.finish()]


def finals(found: list[Partial | Segment]) -> list[Segment]:
    return [event for event in found if isinstance(event, Segment)]


def pieces(transcriber, samples):
    """The segments of a stream, as samples."""
    endpoints = Endpoints(transcriber.longest_s, EnergyStream())
    full = len(samples) // HOP * HOP
    found = [endpoints.add(samples[start : start + HOP]) for start in range(0, full, HOP)]
    return [piece for piece in (*found, endpoints.finish(samples[full:])) if piece is not None and not piece.reason]


def voices(*pauses_s: float, quiet: int = 0) -> np.ndarray:
    """Utterances of speech, each before a pause; number `quiet` begins quietly."""
    parts = []
    for number, pause_s in enumerate(pauses_s):
        one = speech("de", f"eins zwei drei vier {number} sechs").copy()
        if number == quiet:
            one[: len(one) // 2] *= 0.02
        parts += [one, silence(pause_s)]
    samples = np.concatenate(parts)
    return samples + noise(len(samples) / RATE + 1, 9, 1e-3)[: len(samples)]


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("longest_s", [1.5, 8.0])
def test_final_tokens_equal_those_of_the_segments_decoded_offline(transcriber, monkeypatch, trim, longest_s):
    streaming = with_settings(transcriber.opened, longest_s, trim_silence=trim)
    samples = voices(0.8, 0.3, 0.9, 0.7)
    tokens = []
    run = streaming._decoder.run

    def recorded(batches, hooks):
        for decoded in run(batches, hooks):
            tokens.append((decoded.example.num_samples, decoded.tokens))
            yield decoded

    monkeypatch.setattr(streaming._decoder, "run", recorded)
    found = [part for part in finals(events(streaming.stream("de"), samples)) if not part.note.startswith("less than")]
    monkeypatch.undo()
    offline = pieces(streaming, samples)
    assert len(found) == len(offline) >= 3
    for segment, piece in zip(found, offline, strict=True):
        example = streaming._read.of_audio("x", "de", torch.from_numpy(piece.samples))
        (decoded,) = streaming._decoder.run([[example]])
        assert (example.num_samples, decoded.tokens) in tokens
        assert segment.text == decoded.text
        assert segment.start_s == pytest.approx(piece.start_s + example.start / RATE)
        assert segment.end_s <= len(samples) / RATE + 1e-6


def test_beam_search_uses_the_cached_chunks_and_gives_alternatives(transcriber_of_chunks):
    beam = Transcriber(transcriber_of_chunks.opened, dataclasses.replace(SHORT, beam=2, nbest=2))
    stream, samples = beam.stream("de"), voices(0.9)
    (final,) = finals(events(stream, samples))
    (piece,) = pieces(beam, samples)
    (offline,) = beam._decoder.run([[beam._read.of_audio("x", "de", torch.from_numpy(piece.samples))]])
    assert final.text == offline.text == final.alternatives[0].text
    assert [one.text for one in final.alternatives] == [one.text for one in offline.alternatives]
    assert stream.cache.num_encoded >= 4


@pytest.mark.parametrize("pad_to_30s", [False, True])
def test_cached_chunks_give_the_embeddings_of_the_whole_utterance(transcriber, pad_to_30s):
    settings = {"pad_to_30s": True, "edge_frames": 3} if pad_to_30s else {}
    streaming = transcriber.opened.model
    before, streaming.encoder.pad_to_30s = streaming.encoder.pad_to_30s, pad_to_30s
    try:
        read = with_settings(transcriber.opened)._read
        read.edge_frames = settings.get("edge_frames", 0)
        cache, samples = ChunkCache(), torch.from_numpy(voices(0.1, 0.1))
        with torch.inference_mode():
            for size in (8000, 16_000, 24_000, 30_000, 21_000):
                mel = collate_speech([read.of_audio("x", "de", samples[:size])])
                found, counts = embed_speech(streaming, mel, 50, [cache])
                expected, expected_counts = streaming.embed_speech(mel, 50)
                assert counts == expected_counts
                torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    finally:
        streaming.encoder.pad_to_30s = before


def test_each_chunk_is_encoded_once_and_again_only_if_later_audio_is_much_louder(transcriber_of_chunks):
    stream = transcriber_of_chunks.stream("de")
    steady = noise(4.2, level=0.1) * np.repeat(np.float32([1.0, 0.1] * 21), RATE // 10)
    list(stream.feed(np.concatenate([noise(1, level=1e-3), steady])))
    assert stream.cache.num_encoded >= 8 and stream.cache.num_repeated == 0
    loud = transcriber_of_chunks.stream("de")
    list(loud.feed(np.concatenate([silence(1), voices(0.0, quiet=0)[: 2 * RATE]])))
    assert 0 < loud.cache.num_repeated < loud.cache.num_encoded


@pytest.mark.parametrize("size_s", [0.013, 0.5, 60.0])
def test_events_do_not_depend_on_the_blocks(transcriber_of_chunks, size_s):
    samples = voices(0.8, 0.9)
    found = events(transcriber_of_chunks.stream("de"), samples, size_s)
    assert found == events(transcriber_of_chunks.stream("de"), samples)
    assert any(isinstance(event, Partial) for event in found) and len(finals(found)) == 2


def test_a_block_that_is_not_a_number_is_refused_and_leaves_no_trace(transcriber_of_chunks):
    samples, stream = voices(0.5, 0.5), transcriber_of_chunks.stream("de")
    found = list(stream.feed(samples[:8000]))
    for value in (np.nan, 1e22):
        with pytest.raises(ValueError, match=r"stream: (a )?sample"):
            list(stream.feed(np.full(160, value, dtype=np.float32)))
    found += [*stream.feed(samples[8000:]), *stream.finish()]
    assert finals(found) == finals(events(transcriber_of_chunks.stream("de"), samples))


def test_streams_of_one_model_are_independent(transcriber_of_chunks):
    samples = [voices(0.8, 0.9, quiet=number) for number in range(3)]
    alone = [events(transcriber_of_chunks.stream("de"), one) for one in samples]
    streams = [transcriber_of_chunks.stream("de") for _ in samples]
    together: list[list] = [[] for _ in samples]
    for start in range(0, max(map(len, samples)), 1600):
        for stream, one, found in zip(streams, samples, together, strict=True):
            found += stream.feed(one[start : start + 1600])
    for stream, found in zip(streams, together, strict=True):
        found += stream.finish()
    assert together == alone
    assert transcriber_of_chunks(samples[0], lang="de").text


def test_stable_texts_begin_the_partial_texts(transcriber_of_chunks):
    found = events(transcriber_of_chunks.stream("es"), voices(0.8))
    partials = [event for event in found if isinstance(event, Partial)]
    assert len(partials) >= 2 and partials[0].stable == ""
    assert all(event.text.startswith(event.stable) for event in partials)


def test_agreement_is_in_words_or_in_characters():
    assert agreed("wir gehen na", "wir gehen nach hause", "wer") == "wir gehen"
    assert agreed("你好吗", "你好世界", "cer") == "你好"
    assert agreed("", "wir", "wer") == agreed("ich", "wir", "wer") == ""


def test_buffers_stay_small_over_an_hour_of_speech():
    endpoints, rng = Endpoints(8.0, EnergyStream()), np.random.default_rng(1)
    block, largest, closed = noise(HOP / RATE), 0, 0
    for number in range(3600 * RATE // HOP):
        is_silent = number % 25 >= 19 or 10_000 < number < 12_000  # the latter is five minutes
        has_no_pause = number > 18_000
        level = 1e-4 if is_silent and not has_no_pause else rng.uniform(0.1, 1.0)
        closed += endpoints.add((level * block).astype(np.float32)) is not None
        largest = max(largest, len(endpoints.samples), len(endpoints._frames), len(endpoints._voiced._levels))
    assert closed > 500 and largest <= 8 * RATE + HOP


def test_a_stream_keeps_nothing_of_a_closed_segment(transcriber_of_chunks):
    stream = transcriber_of_chunks.stream("de")
    for _ in range(3):
        list(stream.feed(voices(1.5)))
        assert not stream.cache._features and not stream.cache._frames
        assert len(stream._endpoints.samples) <= 0.5 * RATE


@pytest.mark.parametrize("sound", [silence(5), noise(5), noise(0.12)])
def test_silence_and_steady_noise_give_nothing(transcriber_of_chunks, sound):
    assert events(transcriber_of_chunks.stream("de"), sound) == []


def test_a_segment_with_too_little_voice_ends_its_partial_texts_and_leaves_nothing_for_the_next_one(transcriber):
    streaming = with_settings(transcriber.opened)
    voiced = np.zeros(60 * RATE // HOP * (HOP // 320), dtype=bool)
    voiced[30:33] = voiced[50:53] = True  # a short noise, twice, within a segment of more than one chunk
    voiced[120:220] = True
    given = iter(voiced.reshape(-1, HOP // 320))

    def stream() -> Stream:
        endpoints = Endpoints(streaming.longest_s, lambda _: next(given))
        made = streaming.stream("de")
        made._endpoints = endpoints
        return made

    samples = noise(6.0)
    first, *others = finals(found := events(stream(), samples))
    assert (first.text, first.note) == ("", "less than 0.2 s of voice")
    assert isinstance(found[0], Partial) and found[0].start_s < first.end_s < others[0].start_s
    given = iter((voiced & (np.arange(len(voiced)) >= 100)).reshape(-1, HOP // 320))
    assert found[found.index(first) + 1 :] == events(stream(), samples)


def test_an_utterance_without_pauses_is_cut_at_the_longest_length(transcriber):
    streaming = with_settings(transcriber.opened, longest_s=2.0)
    samples = np.concatenate([silence(0.5), with_pauses([0.7] * 12, 0.1)])
    found = pieces(streaming, samples)
    assert len(found) >= 4 and all(len(piece.samples) <= 2 * RATE for piece in found)
    assert all(first.end_s == pytest.approx(second.start_s) for first, second in pairwise(found))


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


class Trickle(io.BytesIO):
    """Returns an odd number of bytes at a time."""

    def read1(self, size: int = -1) -> bytes:
        return super().read1(min(size, 1001))


def test_raw_samples_may_arrive_in_any_number_of_bytes_and_at_any_rate():
    samples = noise(1.0)
    found = np.concatenate(list(pcm_blocks(Trickle(pcm(samples)))))
    np.testing.assert_allclose(found, samples, atol=1e-4)
    slow = np.concatenate(list(pcm_blocks(Trickle(pcm(samples)), 8000)))
    assert len(slow) == pytest.approx(2 * len(samples), abs=50)


def run(trained, monkeypatch, *options: str) -> int:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pcm(voices(0.8, 0.9)))))
    return main(["--model", str(trained), "--stream", *options])


def test_the_command_writes_json_lines(trained, monkeypatch, capsys):
    assert run(trained, monkeypatch, "-", "--lang", "de", "--format", "json", "--vad", "silero") == 0
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert {event["type"] for event in found} <= {"partial", "final"}
    assert [event["type"] for event in found].count("final") == 2
    for event in (event for event in found if event["type"] == "final"):
        assert event["end_s"] > event["start_s"] and event["avg_logprob"] < 0 and "tokens" not in event
        assert [word["text"] for word in event["words"]] == event["text"].split() != []
        assert all(0 < word["confidence"] <= 1 for word in event["words"])
    assert "chunks encoded" in captured.err


def test_the_command_writes_final_texts_to_a_pipe_and_partial_ones_to_a_terminal(trained, monkeypatch, capsys):
    assert run(trained, monkeypatch, "-", "--lang", "de", "--rate", "16000") == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(trained, monkeypatch, "-", "--lang", "de") == 0
    shown = capsys.readouterr().out
    lines = [line.rpartition("\x1b[K")[2] for line in shown.strip().split("\n")]
    assert lines == plain.splitlines() and len(lines) == 2


class Microphone:
    """sounddevice's InputStream, reading generated samples, until Ctrl-C."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, samples: np.ndarray, works: bool = True):
        self._samples, self._works, self._start = samples, works, 0

    def InputStream(self, **settings):
        if not self._works:
            raise self.PortAudioError("no default input device")
        assert settings["samplerate"] == RATE and settings["channels"] == 1
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def read(self, size: int):
        if self._start >= len(self._samples):
            raise KeyboardInterrupt
        block, self._start = self._samples[self._start : self._start + size], self._start + size
        return block[:, None], self._start > len(self._samples)


def test_the_microphone_is_read_until_ctrl_c(trained, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(voices(0.8, 0.2)))
    assert main(["--model", str(trained), "--stream", "microphone", "--lang", "de"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "listening" in captured.err and "stopped" in captured.err and "samples were lost" in captured.err


def test_after_ctrl_c_during_recognition_the_open_segment_is_written(trained, monkeypatch, capsys):
    choose = GreedySearch._choose

    def interrupted(*_):
        monkeypatch.setattr(GreedySearch, "_choose", choose)
        raise KeyboardInterrupt

    monkeypatch.setattr(GreedySearch, "_choose", interrupted)
    assert run(trained, monkeypatch, "-", "--lang", "de") == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 and "stopped" in captured.err


def test_what_follows_an_interruption_is_what_there_was_to_come(transcriber_of_chunks, monkeypatch):
    samples = voices(0.8)
    expected = finals(events(transcriber_of_chunks.stream("de"), samples))
    stream, final = transcriber_of_chunks.stream("de"), Stream._final

    def interrupted(self, piece):
        monkeypatch.setattr(Stream, "_final", final)
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "_final", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(stream.feed(samples))
    assert finals(list(stream.finish())) == expected != []


@pytest.mark.parametrize(
    ("module", "message"),
    [(None, "pip install -e '.[microphone]'"), (Microphone(silence(1), works=False), "cannot be opened: no default")],
)
def test_a_missing_microphone_is_reported(trained, monkeypatch, capsys, module, message):
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert main(["--model", str(trained), "--stream", "microphone", "--lang", "de"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a.wav", "--lang", "de"], "--stream: got a.wav, wanted - for standard input, or microphone"),
        (["-"], "give it with --lang"),
        (["-", "--lang", "de", "--format", "srt"], "got --format srt, wanted txt or json"),
        (["-", "--lang", "de", "--rate", "1"], "--rate: got 1, wanted 1000 to 384000"),
        (["-", "--lang", "de", "--words", "--out", "x"], "--stream: got --out, --words, which only whole recordings"),
        (["-", "--lang", "fr"], "language 'fr' is not one of the model's"),
        (["-", "--lang", "de", "--regime", "full"], "got the regime full, wanted chunked"),
    ],
)
def test_options_that_a_stream_cannot_have(trained, monkeypatch, capsys, options, message):
    assert run(trained, monkeypatch, *options) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
