"""Train the CTC head of an aligner on frames of the frozen encoder.

CTC prefers the blank, and puts each character into a single frame. Dividing the probabilities by their prior makes
characters last as long as their sounds (Huang et al., 2024, arXiv 2406.02560); here only the blank has its own prior.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from zipperasr.align.aligner import Aligner
from zipperasr.align.viterbi import BLANK
from zipperasr.cli import log
from zipperasr.ranges import COUNT, POSITIVE, check_ranges

WARMUP_STEPS = 50
MAX_GRAD_NORM = 5.0


@dataclass(frozen=True)
class HeadTraining:
    """How the head is trained."""

    epochs: int = 5
    batch_size: int = 8
    lr: float = 4e-3
    seed: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {"epochs": COUNT, "batch_size": COUNT, "lr": POSITIVE})


@dataclass(frozen=True)
class Labelled:
    """An utterance to train with."""

    frames: Tensor  # (frames, width), on the CPU
    labels: Tensor  # (labels,)


def train_head(aligner: Aligner, utterances: Sequence[Labelled], config: HeadTraining) -> list[float]:
    """Train in place, on the aligner's device. Returns the mean loss per character of each epoch."""
    device = aligner.out.weight.device
    optimiser = torch.optim.AdamW(aligner.parameters(), lr=config.lr)
    rng = random.Random(config.seed)
    num_steps = config.epochs * -(-len(utterances) // config.batch_size)
    losses, step = [], 0
    aligner.train()
    for epoch in range(config.epochs):
        total, num_labels, num_blanks, num_frames = 0.0, 0, 0.0, 0
        for batch in _batches(utterances, config.batch_size, rng):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * min((step + 1) / WARMUP_STEPS, 1 - step / num_steps)
            lengths = torch.tensor([len(one.frames) for one in batch])
            log_probs = aligner(pad_sequence([one.frames.float() for one in batch], batch_first=True).to(device))
            loss, value = prior_ctc_loss(log_probs, lengths, batch, aligner.config.prior * aligner.log_prior)
            (loss / sum(len(one.labels) for one in batch)).backward()
            clip_grad_norm_(aligner.parameters(), MAX_GRAD_NORM)
            optimiser.step()
            optimiser.zero_grad()
            num_blanks += float(log_probs.detach()[..., BLANK].exp()[_inside(lengths, log_probs)].sum())
            num_frames += int(lengths.sum())
            total, step = total + value, step + 1
            num_labels += sum(len(one.labels) for one in batch)
        blank = num_blanks / num_frames
        aligner.set_prior(blank)
        losses.append(total / num_labels)
        log(f"epoch {epoch + 1} of {config.epochs}: loss {losses[-1]:.3f} per character, blank {blank:.0%} of frames")
    aligner.eval()
    return losses


def prior_ctc_loss(
    log_probs: Tensor, lengths: Tensor, batch: Sequence[Labelled], log_prior: Tensor
) -> tuple[Tensor, float]:
    """CTC loss of log_probs - log_prior, summed over the batch, to differentiate; and its value.

    PyTorch assumes normalised input; otherwise its gradient has an additional exp(input), which the second term
    cancels.

    log_probs: (batch, frames, classes). lengths: (batch,). log_prior: (classes,).
    """
    scores = log_probs - log_prior
    labels = torch.cat([one.labels for one in batch]).to(scores.device)
    num_labels = torch.tensor([len(one.labels) for one in batch])
    ctc = functional.ctc_loss(scores.transpose(0, 1), labels, lengths, num_labels, blank=BLANK, reduction="sum")
    return ctc - scores.exp()[_inside(lengths, scores)].sum(), float(ctc.detach())


def _inside(lengths: Tensor, padded: Tensor) -> Tensor:
    """Mask of the frames that are not padding: (batch, frames)."""
    return (torch.arange(padded.shape[1]) < lengths[:, None]).to(padded.device)


def _batches(utterances: Sequence[Labelled], size: int, rng: random.Random) -> Iterator[list[Labelled]]:
    """Batches of similar lengths in random order."""
    order = sorted(utterances, key=lambda one: len(one.frames) * rng.uniform(0.9, 1.1))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    yield from batches
