"""The option to pad every segment to 30 s, compared with transformers' features and encoder on padded input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import WhisperFeatureExtractor

from tests.model import tiny
from tests.model.test_experiment import align_experiment, aligned, finish
from zipperasr.audio.log_mel import log_mel
from zipperasr.audio.segments import EDGE_FRAMES, cut, mel_frames
from zipperasr.batching.batch import Example, Speech, collate, collate_speech
from zipperasr.batching.loader import ExampleReader
from zipperasr.lora import VARIANTS
from zipperasr.model.experiment import CONFIG, Experiment
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.model.speech_llm import SpeechLLM, pad_segments

__all__ = ["aligned"]
WINDOW = 3000  # mel frames of 30 s
LENGTHS = (
    9_733,
    16_000,
    16_159,
    3_000,
    40_121,
    100,
)  # samples: several offsets within a mel frame, and very short ones
CHUNKS = {"chunked": 70, "full": None}


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def variant(request) -> str:
    return request.param


def padded_model(config, variant: str = "zipper_soft", window_s: int = 5) -> SpeechLLM:
    """A model that pads. Its Whisper may have fewer positions than 30 s need, because attention over them is slow."""
    model = tiny.sft_model(replace(config, pad_to_30s=True), variant)
    whisper = model.encoder.whisper
    whisper.config.max_source_positions = 50 * window_s
    whisper.embed_positions = nn.Embedding.from_pretrained(whisper.embed_positions.weight[: 50 * window_s])
    return model


def by_transformers(audio: torch.Tensor, window_s: int = 30) -> torch.Tensor:
    """WhisperFeatureExtractor's log-mel features of the full window: (frames, mel bins)."""
    extractor = WhisperFeatureExtractor(feature_size=tiny.MEL_BINS, chunk_length=window_s)
    return torch.from_numpy(extractor(audio.numpy(), sampling_rate=16_000)["input_features"][0]).T


def utterances(lengths=LENGTHS) -> list[Example]:
    read = ExampleReader(tiny.llm_tokenizer(), tiny.table(), tiny.FRONTEND, edge_frames=EDGE_FRAMES)
    codes = sorted(tiny.CODES[number % len(tiny.CODES)] for number in range(len(lengths)))
    return [
        read.of_audio(f"u{number}", code, tiny.noise(length, seed=number))
        for number, (length, code) in enumerate(zip(lengths, codes, strict=True))
    ]


@pytest.mark.parametrize("num_samples", [*LENGTHS, 160, 320, 16_001, 16_040, 16_120, 16_121])
def test_features_equal_transformers_and_are_followed_by_silence(num_samples):
    audio = tiny.noise(num_samples, seed=1)
    mel = log_mel(audio, tiny.MEL_BINS, EDGE_FRAMES)
    theirs = by_transformers(audio)
    torch.testing.assert_close(mel, theirs[: len(mel)], rtol=0, atol=1e-5)
    assert len(mel) == mel_frames(num_samples) + EDGE_FRAMES
    assert (theirs[len(mel) :] - theirs[-1, 0]).abs().max() < 1e-6


@pytest.mark.parametrize("regime", CHUNKS)
def test_outputs_of_every_variant_equal_transformers_encoder_on_padded_input(config, variant, regime):
    check_against_transformers(padded_model(config, variant), regime, window_s=5)


def test_outputs_for_30_s_equal_transformers_encoder_on_padded_input(config):
    check_against_transformers(padded_model(config, window_s=30), "full", window_s=30)


@torch.no_grad()
def check_against_transformers(model: SpeechLLM, regime: str, window_s: int) -> None:
    """Compare a batch of several languages and lengths, with each output cut to its utterance's length."""
    examples, window = utterances(), 100 * window_s
    ours, positions = model.embed_speech(collate_speech(examples), CHUNKS[regime])
    for number, (example, part) in enumerate(zip(examples, ours.split(positions), strict=True)):
        audio = tiny.noise(example.num_samples, seed=number)
        mel = by_transformers(audio, window_s)
        length = mel_frames(example.num_samples)
        encoded, start = [], 0
        for frames in cut(length, CHUNKS[regime] or window):
            end = start + frames
            segment = mel[start:] if end == length else mel[start:end]
            silence = mel[-1, 0].expand(window - len(segment), tiny.MEL_BINS)
            padded = torch.cat([segment, silence]).T[None]
            model.adapters.set_batch([example.language], [1])
            hidden = model.encoder.whisper(padded).last_hidden_state[0]
            encoded.append(hidden[: (frames + 1) // 2])
            start = end
        hidden = torch.cat(encoded)
        theirs, _ = model.projector(hidden, [len(hidden)])
        assert theirs.std() > 0.01
        torch.testing.assert_close(part, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_padding_changes_the_outputs_but_not_their_length(config):
    padded, plain = padded_model(config), tiny.sft_model(config)
    speech = collate_speech(utterances())
    bare = Speech(torch.cat([e.mel[:-EDGE_FRAMES] for e in utterances()]), speech.lengths, speech.languages)
    ours, positions = padded.embed_speech(speech, None)
    without, same = plain.embed_speech(bare, None)
    assert positions == same
    assert (ours - without).norm() > 0.01 * without.norm()


def test_features_computed_on_the_device_are_the_same(config):
    read = ExampleReader(tiny.llm_tokenizer(), tiny.table(), tiny.FRONTEND, features=False, edge_frames=EDGE_FRAMES)
    examples = [read.of_audio(e.utt_id, e.language, tiny.noise(e.num_samples, n)) for n, e in enumerate(utterances())]
    speech = collate_speech(examples, tiny.FRONTEND).to("cpu")
    assert torch.equal(speech.mel, collate_speech(utterances()).mel)
    assert speech.edge_frames == EDGE_FRAMES


@pytest.mark.parametrize("regime", CHUNKS)
def test_every_variant_trains_on_padded_segments(config, variant, regime):
    for name, gradient in gradients(config, variant, regime).items():
        assert gradient is not None and gradient.isfinite().all() and gradient.any(), name


def test_checkpointing_changes_no_gradient(config):
    kept = gradients(config, "zipper_soft", "chunked")
    for name, gradient in gradients(replace(config, checkpointing=True), "zipper_soft", "chunked").items():
        torch.testing.assert_close(gradient, kept[name], msg=name)


def gradients(config, variant: str, regime: str) -> dict[str, torch.Tensor | None]:
    """Gradients of one batch of padded segments, in training mode."""
    model = padded_model(config, variant).train()
    packs = [[replace(example, transcript=[1, 2, 3])] for example in utterances((9_733, 16_159, 8_000))]
    model(collate(packs), CHUNKS[regime])[0].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def test_bfloat16_is_close(config):
    exact, rounded = padded_model(config), padded_model(config)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.bfloat16()
    speech = collate_speech(utterances())
    outputs = [model.embed_speech(speech, 40)[0].float() for model in (exact, rounded)]
    assert (outputs[1] - outputs[0]).norm() < 0.05 * outputs[0].norm()


def test_silence_has_the_smallest_feature_value():
    """Eight below the maximum or, for quieter audio (digital silence), the logarithm of 1e-10."""
    for scale in (1.0, 1e-3, 1e-6, 0.0):
        audio = tiny.noise(8_000, seed=2) * scale
        theirs = by_transformers(audio)
        mel = log_mel(audio, tiny.MEL_BINS, EDGE_FRAMES)
        padded = pad_segments(mel, [50], WINDOW, EDGE_FRAMES, WINDOW)
        torch.testing.assert_close(padded, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_last_segment_of_a_long_utterance_is_padded(config):
    model = padded_model(config)
    (example,) = utterances((11 * 16_000,))
    positions = model.embed_speech(collate_speech([example]), None)[1]
    assert positions == [example.speech_positions]


def test_the_option_is_recorded_and_a_configuration_without_it_loads(config, aligned):
    padded = replace(config, pad_to_30s=True)
    experiment = Experiment("sft", "full", "vanilla", str(aligned[0]), tiny.CODES, 1, padded)
    directory = aligned[0].parent / "padded"
    assert build_for_training(align_experiment(padded), torch.float32, seed=1).encoder.pad_to_30s
    model = build_for_training(experiment, torch.float32, seed=1)
    finish(experiment, model, directory)
    assert Experiment.load(directory).model.pad_to_30s
    assert load_model(directory).encoder.pad_to_30s
    text = (directory / CONFIG).read_text()
    old = "".join(line for line in text.splitlines(keepends=True) if "pad_to_30s" not in line)
    assert old.count("\n") == text.count("\n") - 1
    (directory / CONFIG).write_text(old)
    assert not load_model(directory).encoder.pad_to_30s


def test_features_without_lookahead_are_followed_by_silence():
    """Features that end with the utterance are directly followed by silence."""
    mel = tiny.random_mel(50)
    padded = pad_segments(mel, [20, 30], 15, 0, 60).view(-1, 60, tiny.MEL_BINS)
    for segment, rows in zip(padded, [mel[:15], mel[15:20], mel[20:35], mel[35:]], strict=True):
        assert torch.equal(segment[: len(rows)], rows)
        silence = segment[len(rows) :].unique()
        assert len(silence) == 1
    floor = functional.relu(mel[:20].max() - 2 + 1.5) - 1.5
    torch.testing.assert_close(padded[0, -1, 0], floor)
