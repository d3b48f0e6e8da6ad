"""The ragged encoder compared with transformers' WhisperEncoder and with itself on single utterances."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import WhisperModel

from tests.model import tiny
from zipperasr.model.backbones.whisper import WhisperSpeechEncoder

LENGTHS = [1, 2, 7, 50, 101, 400, 8]  # mel frames; odd and even, and of very different length


@pytest.fixture(scope="module")
def whisper(backbones):
    return WhisperModel.from_pretrained(backbones / "whisper").encoder.eval()


@pytest.fixture(scope="module")
def encoder(whisper):
    return WhisperSpeechEncoder(whisper).eval()


@torch.no_grad()
def by_transformers_layers(whisper, mel):
    """Run one unpadded segment through transformers' layers: (frames, d_model)."""
    hidden = functional.gelu(whisper.conv1(mel.T[None]))
    hidden = functional.gelu(whisper.conv2(hidden)).transpose(1, 2)
    hidden = hidden + whisper.embed_positions.weight[: hidden.shape[1]]
    for layer in whisper.layers:
        hidden = layer(hidden, None)
    return whisper.layer_norm(hidden)[0]


@torch.no_grad()
def test_outputs_for_30_s_equal_transformers_forward(whisper, encoder):
    mel = tiny.random_mel(3000)
    ours, frames = encoder(mel, [3000])
    theirs = whisper(mel.T[None]).last_hidden_state[0]
    assert frames == [1500]
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("length", LENGTHS)
def test_outputs_for_one_utterance_equal_transformers_layers_without_padding(whisper, encoder, length):
    mel = tiny.random_mel(length)
    ours, frames = encoder(mel, [length])
    theirs = by_transformers_layers(whisper, mel)
    assert frames == [len(theirs)] == [(length + 1) // 2]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[::-1], [64, 64, 64], [3, 3]])
def test_outputs_for_a_batch_equal_those_of_each_utterance_alone(encoder, lengths):
    mels = [tiny.random_mel(length, seed) for seed, length in enumerate(lengths)]
    batched, frames = encoder(torch.cat(mels), lengths)
    for mel, part in zip(mels, batched.split(frames), strict=True):
        alone, _ = encoder(mel, [len(mel)])
        torch.testing.assert_close(part, alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_an_utterance_does_not_depend_on_its_neighbours(encoder):
    mels = [tiny.random_mel(length, seed) for seed, length in enumerate([31, 40, 22])]
    before, frames = encoder(torch.cat(mels), [31, 40, 22])
    mels[1] = mels[1] * 10 + 3
    after, _ = encoder(torch.cat(mels), [31, 40, 22])
    first, middle, last = ((a - b).abs().max() for a, b in zip(after.split(frames), before.split(frames), strict=True))
    assert first < 1e-5
    assert last < 1e-5
    assert middle > 0.1


@torch.no_grad()
def test_bfloat16_autocast_is_close(encoder):
    mel = tiny.random_mel(60)
    exact, _ = encoder(mel, [20, 40])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = encoder(mel, [20, 40])
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


def test_checkpointing_changes_no_gradient(whisper):
    gradients = []
    for checkpointing in (False, True):
        encoder = WhisperSpeechEncoder(whisper, checkpointing).train()
        whisper.zero_grad()
        encoder(tiny.random_mel(30), [13, 17])[0].square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in whisper.named_parameters() if p.grad is not None})
    whisper.zero_grad()
    assert gradients[0].keys() == gradients[1].keys()
    assert "conv1.weight" in gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


@pytest.mark.parametrize("length", [0, 3001])
def test_empty_or_too_long_segments_are_an_error(encoder, length):
    with pytest.raises(ValueError, match=r"mel frames, wanted 1 to 3000"):
        encoder(tiny.random_mel(length + 5), [5, length])
