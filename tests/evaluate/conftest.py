"""The tiny trained model of the tests of transcribing."""

from __future__ import annotations

from tests.model.conftest import backbones
from tests.transcribe.conftest import trained, transcriber

__all__ = ["backbones", "trained", "transcriber"]
