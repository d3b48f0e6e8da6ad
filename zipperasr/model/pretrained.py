"""A trained model and all that using it takes, opened from anywhere.

In: a training directory, or a bundle of `zipperasr export`. Out: model, tokenizer, languages. What it needs besides its
own weights (the alignment, the backbones) is found through its config.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import LANGUAGES, Experiment, load_model, located
from zipperasr.model.speech_llm import SpeechLLM


@dataclass(frozen=True)
class Pretrained:
    """What a user opens."""

    model: SpeechLLM  # in evaluation mode
    tokenizer: PreTrainedTokenizerBase
    languages: LanguageTable  # those the model has been trained with, in the order of its banks
    experiment: Experiment  # paths made good for the present directory


def load_pretrained(directory: str | Path, dtype: torch.dtype = torch.float32) -> Pretrained:
    """Open a finished training or a bundle. Raises FileNotFoundError or ValueError, as `load_model` does."""
    directory = Path(directory)
    if directory.is_file():
        from zipperasr.exchange.bundle import open_bundle  # which itself asks for the model's rooms

        directory = open_bundle(directory)
    experiment = located(Experiment.load(directory), directory)
    if not (directory / LANGUAGES).is_file():
        raise FileNotFoundError(f"{directory / LANGUAGES}: missing; copy the recipe's conf/languages.tsv there")
    return Pretrained(
        load_model(directory, dtype).eval(),
        load_tokenizer(experiment.model.llm),
        LanguageTable.load(directory / LANGUAGES).chosen(experiment.languages),
        experiment,
    )
