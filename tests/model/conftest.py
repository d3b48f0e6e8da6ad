"""The tiny backbones, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.model import tiny
from zipperasr.model.model_config import ModelConfig


@pytest.fixture(scope="session")
def backbones(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("backbones")
    tiny.write_backbones(directory)
    return directory


@pytest.fixture(scope="session")
def config(backbones: Path) -> ModelConfig:
    return tiny.model_config(backbones)


@pytest.fixture
def wav_row(tmp_path) -> dict:
    """A manifest row that points to a recording of noise."""
    soundfile.write(tmp_path / "a.wav", tiny.noise(8000, seed=1).numpy(), 16_000)
    return {"utt_id": "s-a", "language": "de", "audio": str(tmp_path / "a.wav"), "text": "ein", "num_samples": 8000}
