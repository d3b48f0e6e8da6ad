"""A training directory as a model: what was trained on what, and how to build it again.

In: config.yaml and model.safetensors of a training, and of the one it started from. Out: SpeechLLM. The chain is short:
backbones, then the alignment's weights, then the SFT's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from torch import Tensor

from zipperasr.atomic import atomic_path
from zipperasr.config import load_yaml, to_tree
from zipperasr.lora import variant_class
from zipperasr.model.build import add_adapters, build_model, set_trainable
from zipperasr.model.checkpoint import load_trained
from zipperasr.model.config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


@dataclass(frozen=True)
class Experiment:
    """One training, as its config.yaml says it."""

    phase: str  # align | sft
    regime: str  # chunked | full
    lora: str | None  # the encoder's variant; sft only
    init: str | None  # training directory this one started from; sft only
    languages: tuple[str, ...]  # banks, by code
    seed: int
    model: ModelConfig
    lid: Tensor | None = field(default=None, compare=False)  # (languages, d_lid); stored with the weights

    @classmethod
    def load(cls, directory: str | Path) -> Experiment:
        """Read <directory>/config.yaml. Raises FileNotFoundError if no training has finished there."""
        directory = Path(directory)
        for name in (CONFIG, WEIGHTS):
            if not (directory / name).is_file():
                raise FileNotFoundError(
                    f"{directory / name}: no finished training here; run stage 5 (align) or 6 (sft)"
                )
        return load_yaml(cls, directory / CONFIG)

    def to_tree(self) -> dict:
        tree = to_tree(self)
        del tree["lid"]
        return tree

    def save(self, directory: Path) -> None:
        with atomic_path(directory / CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(self.to_tree()), sort_keys=False), encoding="utf-8")


def build_for_training(experiment: Experiment, dtype: torch.dtype, seed: int) -> SpeechLLM:
    """The model that a training starts from, frozen as its phase says."""
    if experiment.phase == "align":
        model = build_model(experiment.model, dtype)
    else:
        model = load_model(Path(experiment.init), dtype)
        torch.manual_seed(seed)
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, experiment.lid)
    set_trainable(model, experiment.phase)
    return model


def load_model(directory: Path, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """The trained model of a directory, strictly: every tensor must fit, none may be missing."""
    experiment = Experiment.load(directory)
    if experiment.phase == "align":
        model = build_model(experiment.model, dtype)
    else:
        model = load_model(Path(experiment.init), dtype)
        lid = None
        if variant_class(experiment.lora).routed:  # the embeddings themselves come with the weights
            lid = torch.zeros(len(experiment.languages), _lid_width(directory))
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, lid)
    set_trainable(model, experiment.phase)
    load_trained(model, directory / WEIGHTS)
    for parameter in model.parameters():  # new modules start in float32; buffers stay so, as in DeepSpeed
        parameter.data = parameter.data.to(dtype)
    return model


def _lid_width(directory: Path) -> int:
    from safetensors import safe_open

    with safe_open(directory / WEIGHTS, framework="pt") as stream:
        return stream.get_slice("adapters.router.embeddings").get_shape()[1]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
