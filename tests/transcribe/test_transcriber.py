"""A transcript depends only on its recording, and every recording gets a transcript or a reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.model import tiny
from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import RATE, noise, silence, tones, with_pauses
from zipperasr.lora.merging import merged
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Job, Segment, Transcript


def recordings() -> list[Recording]:
    """Eleven recordings: short ones, one with several pieces, and silence."""
    made = [noise(0.4 + 0.37 * number, number) for number in range(8)]
    made[3:3] = [silence(2), with_pauses([11.0, 9.0, 14.0, 4.0]), noise(0.03)]
    return [Recording(f"r{number}", samples) for number, samples in enumerate(made)]


def texts(found) -> dict[str, str]:
    return {recording.id: transcript.text for recording, transcript in found}


@pytest.mark.parametrize("lang", ["auto", "es"])
def test_transcripts_do_not_depend_on_other_recordings_and_their_order(trained, transcriber, lang):
    alone = texts(pair for one in recordings() for pair in transcriber.transcribe([one], lang))
    assert len(set(alone.values())) > 5
    assert texts(transcriber.transcribe(recordings(), lang)) == alone
    wide = Transcriber(transcriber.opened, dataclasses.replace(SHORT, batch_size=16))
    assert texts(wide.transcribe(reversed(recordings()), lang)) == alone


def test_transcripts_are_in_the_order_of_the_input(transcriber):
    found = [recording.id for recording, _ in transcriber.transcribe(recordings(), "de")]
    assert found == [recording.id for recording in recordings()]


def test_a_batch_with_several_languages_gives_the_same_transcripts(transcriber):
    probabilities = [dict(zip(transcriber.languages.codes, row, strict=True)) for row in np.eye(3)]

    class Rotating:
        """Detects three languages in turn."""

        def __init__(self):
            self.turn = -1

        def __call__(self, samples):
            self.turn += 1
            return probabilities[self.turn % 3]

    mixed = Transcriber(transcriber.opened, SHORT)
    mixed._detector = Rotating()
    some = [Recording(f"r{number}", noise(1.0, number)) for number in range(7)]
    found = texts(mixed.transcribe(some, "auto"))
    for number, recording in enumerate(some):
        code = transcriber.languages.codes[number % 3]
        assert found[recording.id] == transcriber(recording.audio, lang=code).text


def test_pieces_of_a_long_recording_are_joined_with_times(transcriber):
    samples = with_pauses([12.0, 14.0, 13.0, 9.0, 12.0])
    transcript = transcriber(samples, lang="de")
    assert len(transcript.segments) >= 2
    assert transcript.text == " ".join(part.text for part in transcript.segments if part.text)
    assert transcript.segments[0].start_s == 0 and transcript.duration_s == len(samples) / RATE
    for part in transcript.segments:
        piece = samples[round(part.start_s * RATE) : round(part.end_s * RATE)]
        assert transcriber(piece, lang="de").text == part.text


@pytest.mark.parametrize("lang", ["auto", "de"])
@pytest.mark.parametrize(
    ("samples", "note"),
    [
        (silence(30), "0.0 to 30.0 s: silence: nothing above -60 dB of full scale"),
        (noise(0.02), "0.0 to 0.0 s: shorter than 0.1 s"),
        (silence(0), "0.0 to 0.0 s: shorter than 0.1 s"),
    ],
)
def test_a_recording_without_speech_has_an_empty_transcript_and_a_reason(transcriber, samples, note, lang):
    transcript = transcriber(samples, lang=lang)
    assert transcript.text == "" and transcript.notes == [note]
    assert transcript.lang == ("" if lang == "auto" else "de")


@pytest.mark.parametrize("samples", [noise(30), tones(30)])
def test_decoding_of_noise_and_tones_terminates(transcriber, samples):
    transcript = transcriber(samples, lang="de")
    assert len(transcript.text) <= SHORT.tokens_floor + SHORT.tokens_per_s * 30


def test_undecodable_recordings_are_returned_in_order(transcriber, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF\x00\x00")
    mixed = [recordings()[0], Recording("bad", tmp_path / "bad.wav"), recordings()[1]]
    first, bad, last = (found for _, found in transcriber.transcribe(mixed, "de"))
    assert isinstance(first, Transcript) and isinstance(last, Transcript)
    assert isinstance(bad, ValueError) and "bad.wav: cannot be decoded" in str(bad)
    with pytest.raises(ValueError, match=r"bad\.wav: cannot be decoded"):
        transcriber(tmp_path / "bad.wav", lang="de")


def test_the_error_for_an_unknown_language_lists_the_known_ones(transcriber):
    with pytest.raises(ValueError, match=r"language 'fr' is not one of the model's; .*choose from auto, de, es, ja"):
        transcriber(noise(1), lang="fr")


def test_detection_sums_to_one_and_equals_whispers(transcriber):
    transcript = transcriber(noise(2))
    assert set(transcript.lang_probs) == set(tiny.CODES)
    assert sum(transcript.lang_probs.values()) == pytest.approx(1)
    assert transcript.lang == max(transcript.lang_probs, key=transcript.lang_probs.get)
    cost = transcriber.detector.cost
    assert cost.recordings >= 1 and cost.memory_gb > 0 and "Whisper needs another" in cost.described()


@torch.no_grad()
def test_outputs_for_a_mixture_of_languages_are_between_theirs(transcriber):
    """Banks and embeddings are mixed by probability; a probability of 1 gives the language itself."""
    adapters = transcriber.opened.model.adapters
    layer = next(iter(adapters.layers.values()))
    weights = {}
    for name, language in {"de": "de", "certain": {"de": 1.0, "es": 0.0}, "half": {"de": 0.5, "es": 0.5}}.items():
        with merged(adapters, language):
            weights[name] = layer.base.weight.clone()
    router, (de, es) = adapters.router, (adapters.bank("de"), adapters.bank("es"))
    mixed = (router.embeddings[de] + router.embeddings[es]) / 2
    normed = torch.nn.functional.layer_norm(mixed, mixed.shape)
    p = torch.sigmoid(router.weight[0] @ normed + router.bias[0])
    b = layer.b_shared * (1 - p) + (layer.b_specific[de] + layer.b_specific[es]) / 2 * p
    torch.testing.assert_close(weights["half"], layer.base.weight + layer.scaling * b @ layer.a, atol=1e-5, rtol=1e-5)
    assert torch.equal(weights["certain"], weights["de"])


def test_detection_without_probabilities_is_an_error(transcriber):
    with pytest.raises(ValueError, match="language detection: Whisper's output is not a number; set the language"):
        transcriber.detector(torch.full((RATE,), torch.nan))


def test_soft_detection_with_probability_1_equals_hard_detection(transcriber):
    soft = Transcriber(transcriber.opened, SHORT, soft=True)
    soft._detector = lambda samples: {"de": 1.0, "es": 0.0, "ja": 0.0}
    assert soft(noise(2)).text == transcriber(noise(2), lang="de").text


def test_soft_detection_reaches_beam_search(transcriber):
    config = dataclasses.replace(SHORT, beam=2, retry_loops=False)
    soft = Transcriber(transcriber.opened, config, soft=True)
    plain = Transcriber(transcriber.opened, config)
    texts = {}
    for code in ("de", "es"):
        soft._detector = lambda _, code=code: {"de": 0.0, "es": 0.0, "ja": 0.0, code: 1.0}
        texts[code] = soft(noise(2)).text
        assert texts[code] == plain(noise(2), lang=code).text
    soft._detector = lambda _: {"de": 0.4, "es": 0.3, "ja": 0.3}
    assert soft(noise(2)).text != texts["de"], "the prompt is German, the adapters are mixed"


def test_words_have_times_with_beam_search(trained):
    config = dataclasses.replace(SHORT, beam=2, tokens_per_s=4.0)
    timing = Transcriber.from_pretrained(trained, "cpu", config, words=True)
    words = [word for seed in range(6) for word in timing(noise(2, seed), lang="de").segments[0].words]
    assert any(word.start_s is not None for word in words), "a text without letters has no times"
    assert all(word.confidence is None for word in words)


def with_settings(transcriber, longest_s: float | None = None, **model) -> Transcriber:
    """The same weights with another longest piece or other settings of the model."""
    opened = transcriber.opened
    changed = dataclasses.replace(opened.experiment.model, **model)
    experiment = dataclasses.replace(opened.experiment, longest_s=longest_s, model=changed)
    return Transcriber(dataclasses.replace(opened, experiment=experiment), SHORT)


@pytest.mark.parametrize(("longest_s", "limit_s"), [(None, 30.0), (6.5, 6.5), (45.0, 30.0), (0.01, 1.0)])
def test_no_piece_is_longer_than_the_longest_training_clips_or_30_s(transcriber, longest_s, limit_s):
    samples = with_pauses([3.0, 4.0, 5.0, 2.0, 4.5, 3.5, 5.5, 4.0, 3.0])
    transcript = with_settings(transcriber, longest_s)(samples, lang="de")
    lengths = [part.end_s - part.start_s for part in transcript.segments]
    assert limit_s / 2 < max(lengths) <= limit_s + 1e-9


def test_silence_at_the_edges_changes_no_text_if_it_is_trimmed_and_times_are_of_the_speech(transcriber):
    trimming = with_settings(transcriber, trim_silence=True)
    padded = np.concatenate([silence(1.5), noise(2.0), silence(1.0)])
    transcript = trimming(padded, lang="de")
    (part,) = transcript.segments
    assert (part.start_s, part.end_s) == (pytest.approx(1.4), pytest.approx(3.6))
    assert transcript.duration_s == pytest.approx(4.5)
    kept = padded[round(part.start_s * RATE) : round(part.end_s * RATE)]
    assert transcript.text == transcriber(kept, lang="de").text
    assert transcriber(padded, lang="de").segments[0].start_s == 0, "off by default"


def test_every_piece_of_a_long_recording_is_trimmed(transcriber):
    trimming = with_settings(transcriber, 5.0, trim_silence=True)
    transcript = trimming(with_pauses([3.0, 3.0, 3.0], pause_s=1.0), lang="de")
    times = [(part.start_s, part.end_s) for part in transcript.segments]
    assert np.allclose(times, [(0.0, 3.1), (3.9, 7.1), (7.9, 11.1)], atol=0.03)


def test_chinese_pieces_are_joined_without_a_space(transcriber):
    job = Job(Recording("r", silence(1)), "zh", segments={n: Segment(n, n + 1, "你好") for n in range(2)}, num_pieces=2)
    assert job.result().text == "你好你好"
