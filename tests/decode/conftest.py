"""The tiny backbones of the model tests, and utterances to decode."""

from __future__ import annotations

import dataclasses

import pytest

from tests.model import tiny
from tests.model.conftest import backbones
from zipperasr.batching.batch import Example

__all__ = ["backbones"]


@pytest.fixture(scope="session")
def utterances() -> list[Example]:
    """Sixteen utterances of 0.2 to 2.5 s in three languages, without transcripts."""
    lengths = [3200 + (number * 7919) % 37_000 for number in range(16)]
    made = [
        tiny.example(f"u{number}", tiny.CODES[number % 3], length, "", seed=number)
        for number, length in enumerate(lengths)
    ]
    return [dataclasses.replace(utterance, transcript=[]) for utterance in made]
