"""Open a trained model with everything needed to use it.

In: a training directory, or a bundle written by `zipperasr export`. Out: model, tokenizer, languages. The paths of the
alignment and the backbones are read from its config.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from zipperasr.exchange.bundle import open_bundle
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import LANGUAGES, Experiment, located
from zipperasr.model.experiment_model import load_model
from zipperasr.model.speech_llm import SpeechLLM


@dataclass(frozen=True)
class Pretrained:
    """A trained model, ready to use."""

    model: SpeechLLM  # in evaluation mode
    tokenizer: PreTrainedTokenizerBase
    languages: LanguageTable  # languages of the model, in the order of its banks
    experiment: Experiment  # paths are valid on this machine
    directory: Path  # the training directory, or where the bundle was unpacked


def load_pretrained(directory: str | Path, dtype: torch.dtype = torch.float32) -> Pretrained:
    """Open a finished training or a bundle. Raises FileNotFoundError or ValueError like `load_model`."""
    directory = Path(directory)
    if directory.is_file():
        directory = open_bundle(directory)
    experiment = located(Experiment.load(directory), directory)
    if not (directory / LANGUAGES).is_file():
        raise FileNotFoundError(f"{directory / LANGUAGES}: missing; copy the recipe's conf/languages.tsv there")
    return Pretrained(
        load_model(directory, dtype).eval(),
        load_tokenizer(experiment.model.llm),
        LanguageTable.load(directory / LANGUAGES).chosen(experiment.languages),
        experiment,
        directory,
    )
