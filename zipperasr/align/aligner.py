"""The aligner: a CTC head over characters, and the times of words from its best path.

In: frames of the trained encoder. Out: log-probabilities of characters, or words with times. The head is trained after
the model, which it does not change (train_aligner.py), and is stored next to the model's weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.align.spelling import characters
from zipperasr.align.viterbi import BLANK, align_labels, least_frames
from zipperasr.atomic import atomic_files, fingerprint
from zipperasr.config import load_yaml, to_tree
from zipperasr.model.experiment import weights_digest
from zipperasr.model.weights_file import load_weights, shapes
from zipperasr.ranges import SHARE, Range, check_ranges

WEIGHTS, CONFIG = "aligner.safetensors", "aligner.yaml"
FRAME_S = 0.02  # of the encoder
LATE_S = 0.02  # by which a character is recognised after it begins, and after it ends; median of the mini dev sets
PAUSE = 3  # times the typical distance of characters; a longer gap between two is a pause. Chosen on the mini dev sets
# Each character's prior is that of one of so many equally frequent ones. With priors of their own, the characters of
# languages with many of them, or with few utterances, would be preferred to the blank of all languages.
ALPHABET = 20
LEAST_BLANK = 1e-3
HUGE = 1e9
SIZE = Range(1, 2**16)
Times = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class AlignerConfig:
    """What an aligner was trained for, and its sizes."""

    model: str  # digest of the model's weights
    width: int  # of the encoder
    hidden: int  # of the head
    kernel: int  # frames that the head sees at once; odd
    prior: float  # weight of the prior of the blank, in training and alignment
    characters: str  # classes from 1 on
    weights: str = ""  # digest of the saved aligner's weights

    def __post_init__(self) -> None:
        check_ranges(self, {"width": SIZE, "hidden": SIZE, "kernel": SIZE, "prior": SHARE})
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: got {self.kernel}, wanted an odd number")
        if not self.characters or len(set(self.characters)) < len(self.characters):
            raise ValueError("characters: got none, or one of them twice; wanted each character once")


class Aligner(nn.Module):
    """log softmax(W gelu(conv(LayerNorm(frames)))) over the blank and the characters."""

    def __init__(self, config: AlignerConfig):
        super().__init__()
        self.config = config
        classes = len(config.characters) + 1
        self.norm = nn.LayerNorm(config.width)
        self.conv = nn.Conv1d(config.width, config.hidden, config.kernel, padding=config.kernel // 2)
        self.out = nn.Linear(config.hidden, classes)
        self.register_buffer("log_prior", torch.zeros(classes))
        self._classes = {char: number for number, char in enumerate(config.characters, 1)}

    def forward(self, frames: Tensor) -> Tensor:
        """frames: (batch, frames, width). Returns log-probabilities (batch, frames, classes) without the prior."""
        hidden = functional.gelu(self.conv(self.norm(frames).transpose(1, 2)).transpose(1, 2))
        return self.out(hidden).log_softmax(-1)

    def set_prior(self, blank: float) -> None:
        """Set the prior. blank: its share of the frames, below 1."""
        blank = min(max(blank, LEAST_BLANK), 1 - LEAST_BLANK)
        self.log_prior.fill_(math.log((1 - blank) / ALPHABET))
        self.log_prior[BLANK] = math.log(blank)

    def labels(self, text: str) -> list[int]:
        """Classes of the characters of a text; a character that training has not seen has one after the last."""
        return [self._classes.get(char, len(self._classes) + 1) for char in characters(text)]

    @torch.inference_mode()
    def times(self, frames: Tensor, words: Sequence[str]) -> list[Times] | None:
        """Return start and end of each word in seconds from the first frame; None if the speech is too short for them.

        frames: (frames, width) of one utterance. Starts and ends never decrease. A word without letters or digits has
        no duration.
        """
        spelled = [self.labels(word) for word in words]
        labels = np.array([label for word in spelled for label in word], dtype=np.int64)
        if not len(labels) or len(frames) < least_frames(labels):
            return None
        spans = _without_gaps(align_labels(self._scores(frames), labels))
        times, place, end_s = [], 0, 0.0
        for word in spelled:
            start_s = end_s
            if word:
                first, end = spans[place, 0], spans[place + len(word) - 1, 1]
                start_s, end_s = max(0.0, first * FRAME_S - LATE_S), end * FRAME_S - LATE_S
            times.append((float(start_s), float(end_s)))
            place += len(word)
        return times

    @torch.inference_mode()
    def relative_scores(self, frames: Tensor) -> Tensor:
        """Log-likelihoods minus that of each frame's best class, at most 0: (frames, classes), on the CPU.

        frames: (frames, width) of one utterance. The last class is that of unknown characters, any character.
        """
        scores = torch.from_numpy(self._scores(frames))
        return (scores - scores[:, :-1].amax(1, keepdim=True)).clamp(max=0)

    def _scores(self, frames: Tensor) -> np.ndarray:
        """Log-likelihoods up to a constant, with a class for unknown characters at the end: any character."""
        weight = self.out.weight
        scores = self(frames[None].to(weight.device, weight.dtype))[0].float()
        unknown = scores[:, BLANK + 1 :].logsumexp(1, keepdim=True)
        scores = scores - self.config.prior * self.log_prior.float()
        finite = torch.cat([scores, unknown], dim=1).nan_to_num(-HUGE, HUGE, -HUGE)  # whatever a file's weights are
        return finite.cpu().numpy()

    def save(self, directory: Path) -> None:
        """Write the weights, and the configuration with their digest, to a training directory."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with atomic_files(directory) as temporary:
            save_file(tensors, temporary / WEIGHTS)
            tree = to_tree(replace(self.config, weights=_digest(temporary)))
            (temporary / CONFIG).write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), "utf-8")

    @staticmethod
    def is_in(directory: Path) -> bool:
        """Whether a training directory has an aligner."""
        return (directory / WEIGHTS).is_file()

    @classmethod
    def load(cls, directory: Path) -> Aligner:
        """Read the aligner of a training directory.

        Raises FileNotFoundError if it has none, ValueError if it is damaged or the model was retrained since.
        """
        if not cls.is_in(directory):
            raise FileNotFoundError(f"{directory / WEIGHTS}: no aligner; run `zipperasr train-aligner` for this model")
        config = load_yaml(AlignerConfig, directory / CONFIG, bases=False)
        if config.model != weights_digest(directory):
            raise ValueError(f"{directory}: retrained after its aligner; run `zipperasr train-aligner` again")
        with torch.device("meta"):  # needs no memory, whatever the sizes
            wanted = {name: tuple(tensor.shape) for name, tensor in cls(config).state_dict().items()}
        found = {name: shape for name, (shape, _) in shapes(directory / WEIGHTS).items()}
        if found != wanted or config.weights != _digest(directory):
            raise ValueError(f"{directory / WEIGHTS}: does not fit {CONFIG}; run `zipperasr train-aligner` again")
        aligner = cls(config)
        aligner.load_state_dict(load_weights(directory / WEIGHTS))
        return aligner.eval()


def _without_gaps(spans: np.ndarray) -> np.ndarray:
    """Start and end of each label, with gaps divided in the middle unless they are pauses.

    The blank is also found within speech, above all beside rare characters. What is a pause depends on the distance of
    characters in the utterance, because a Chinese character lasts several times as long as a letter.

    spans: first and last frame of each label, (labels, 2). Returns (labels, 2) in frames; ends are exclusive.
    """
    starts, ends = spans[:, 0].astype(float), spans[:, 1] + 1.0
    if len(spans) > 1:
        gaps = starts[1:] - ends[:-1]
        half = np.where(gaps <= PAUSE * np.median(np.diff(starts)), gaps / 2, 0.0)
        ends[:-1] += half
        starts[1:] -= half
    return np.stack([starts, ends], axis=1)


def _digest(directory: Path) -> str:
    return fingerprint(weights=directory / WEIGHTS)["weights"]
