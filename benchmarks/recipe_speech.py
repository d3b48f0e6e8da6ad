"""Utterances of a recipe's test sets for benchmarks of a trained model, and their error rates."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zipperasr.audio.clips import load_clip
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.set_table import read_sets
from zipperasr.languages import Language
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.score.transcripts import load_test_set


@dataclass(frozen=True)
class Utterance:
    """One utterance of a test set."""

    samples: np.ndarray  # 16 kHz
    reference: str


def add_recipe(options: argparse.ArgumentParser) -> None:
    options.add_argument("--model", type=Path, required=True, help="training directory of a finished recipe")
    options.add_argument("--raw", type=Path, required=True, help="its dump/raw")
    options.add_argument("--utterances", type=int, default=20, help="number of utterances per language")
    options.add_argument("--langs", nargs="*", default=None, help="languages; default: all with a test set")


def read_utterances(raw: Path, count: int, langs: Sequence[str] | None) -> dict[str, list[Utterance]]:
    """`count` utterances, spread over the first test set of each language."""
    found: dict[str, list[Utterance]] = {}
    for row in read_sets(raw / "sets.tsv"):
        if row.kind != "test" or row.language in found or (langs and row.language not in langs):
            continue
        references, entries = load_test_set(raw, row).references, read_table(raw / row.set / "wav.scp")
        chosen = list(references.items())[:: max(1, len(references) // count)][:count]
        found[row.language] = [Utterance(load_clip(entries[utt]), text) for utt, text in chosen]
    return found


def units(text: str, language: Language) -> list[str]:
    """The normalised words or characters that errors are counted in."""
    return split_units(normaliser(language.normaliser)(text), language.unit)


def error_rate(pairs: Sequence[tuple[str, str]], language: Language) -> float:
    """Error rate in per cent of pairs of reference and hypothesis."""
    split = [(units(reference, language), units(hypothesis, language)) for reference, hypothesis in pairs]
    errors = sum(len(operations) - operations.count("C") for operations in align_all(split))
    return 100 * errors / sum(len(reference) for reference, _ in split)


def mean(rates: Mapping[str, float]) -> float:
    """Mean over languages."""
    return sum(rates.values()) / len(rates)
