"""The licence notes of an exported model: facts about its parts, and where to find their terms."""

from __future__ import annotations

from pathlib import Path

FILE = "LICENCES.md"


def licence_notes(whisper: str, llm: str) -> str:
    """Markdown. whisper, llm: the backbones as the configuration names them."""
    whisper, llm = public_name(whisper), public_name(llm)
    return f"""# Licences of the parts

An exported model contains weights of three origins. This page is no legal advice; the sources named here decide.

| part | here | what its publishers say |
|---|---|---|
| speech encoder and decoder | {whisper} | Whisper: MIT in OpenAI's repository, Apache-2.0 on some model cards |
| language model, tokenizer | {llm} | Qwen3: Apache-2.0; see the model card of the very model |
| projector, adapters, router | trained | whoever trained them decides; corpora have terms of their own |

Where a backbone is not a published Whisper or Qwen3 but one of your own, its own terms hold instead. The toolkit that
wrote this, zipperasr, is Apache-2.0; using it puts no licence on what it writes.
"""


def public_name(backbone: str) -> str:
    """A hub id unchanged; of a directory only its name, not its path on this machine."""
    return Path(backbone).name if Path(backbone).is_dir() else backbone
