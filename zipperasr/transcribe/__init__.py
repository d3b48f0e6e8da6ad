"""Transcribe recordings with a trained model.

from zipperasr.transcribe import Transcriber

transcriber = Transcriber.from_pretrained("exp/sft_zipper_soft_chunked")
print(transcriber("speech.flac", lang="th").text)
"""

from __future__ import annotations

import importlib

_WHERE = {"Transcriber": "transcriber", "Transcript": "transcript", "Segment": "transcript", "Word": "transcript"}
__all__ = list(_WHERE)


def __getattr__(name: str) -> type:
    """Import torch only when a name is used."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
