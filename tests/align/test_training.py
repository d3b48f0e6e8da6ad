"""The head's loss has the right gradient, and training places characters where they are spoken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from zipperasr.align.aligner import LATE_S, Aligner, AlignerConfig
from zipperasr.align.training import HeadTraining, Labelled, prior_ctc_loss, train_head

WIDTH = 12


def config(**changes) -> AlignerConfig:
    settings = {"model": "0", "width": WIDTH, "hidden": 16, "kernel": 3, "prior": 0.5, "characters": "abcd"}
    return AlignerConfig(**{**settings, **changes})


def speech(text: str, rng: np.random.Generator) -> Labelled:
    """Frames in which each character sounds for four frames, after two of noise."""
    sounds = np.eye(WIDTH)
    rows = [sounds[11]] * 2 + [sounds["abcd".index(char)] for char in text for _ in range(4)] + [sounds[11]] * 2
    frames = torch.tensor(np.array(rows) * 3 + rng.normal(0, 0.3, (len(rows), WIDTH)), dtype=torch.float16)
    return Labelled(frames, torch.tensor(["abcd".index(char) + 1 for char in text]))


def utterances(count: int) -> list[Labelled]:
    rng = np.random.default_rng(3)
    return [speech("".join(rng.choice(list("abcd"), rng.integers(2, 6))), rng) for _ in range(count)]


def test_the_gradient_is_that_of_the_loss_with_a_prior():
    torch.manual_seed(0)
    batch = [Labelled(torch.zeros(5, 2), torch.tensor([1, 2])), Labelled(torch.zeros(3, 2), torch.tensor([2]))]
    lengths, prior = torch.tensor([5, 3]), torch.randn(3, dtype=torch.double)
    logits = torch.randn(2, 5, 3, dtype=torch.double, requires_grad=True)

    def value(of: torch.Tensor) -> float:
        return prior_ctc_loss(of.log_softmax(-1), lengths, batch, prior)[1]

    prior_ctc_loss(logits.log_softmax(-1), lengths, batch, prior)[0].backward()
    for place in np.ndindex(2, 5, 3):
        step = torch.zeros_like(logits)
        step[place] = 1e-6
        expected = (value(logits.detach() + step) - value(logits.detach() - step)) / 2e-6
        assert logits.grad[place].item() == pytest.approx(expected, abs=1e-6)


def test_without_a_prior_the_loss_is_ctc():
    batch, log_probs = utterances(1), torch.randn(1, 30, 5).log_softmax(-1)
    lengths, labels = torch.tensor([30]), batch[0].labels
    expected = functional.ctc_loss(log_probs[0], labels, lengths[0], torch.tensor(len(labels)), reduction="sum")
    assert prior_ctc_loss(log_probs, lengths, batch, torch.zeros(5))[1] == pytest.approx(float(expected), rel=1e-5)


def test_training_lowers_the_loss_and_finds_the_words():
    torch.manual_seed(1)
    aligner = Aligner(config())
    losses = train_head(aligner, utterances(160), HeadTraining(epochs=12, batch_size=8, lr=1e-2))
    assert losses[-1] < losses[0] - 1.0
    frames = speech("abdcab", np.random.default_rng(9)).frames.float()
    times = aligner.times(frames, ["ab", "--", "dc", "ab"])
    assert times[1] == (times[0][1], times[0][1])
    found = np.array([times[0], times[2], times[3]])
    true = np.array([[2, 10], [10, 18], [18, 26]]) * 0.02 - LATE_S
    assert np.abs(found - true).max() <= 0.0401


def test_training_is_the_same_for_the_same_seed():
    weights = []
    for _ in range(2):
        torch.manual_seed(1)
        aligner = Aligner(config())
        train_head(aligner, utterances(20), HeadTraining(epochs=2, batch_size=8))
        weights.append(aligner.out.weight.detach().clone())
    assert torch.equal(*weights)
