"""The licence notes of an exported model: the origin of its parts, and where to find their terms."""

from __future__ import annotations

from pathlib import Path

FILE = "LICENCES.md"


def licence_notes(whisper: str, llm: str) -> str:
    """The page in Markdown. whisper, llm: directories or hub ids of the backbones."""
    whisper, llm = public_name(whisper), public_name(llm)
    return f"""# Licences of the parts

An exported model contains weights from three sources. This page is not legal advice; the terms of these sources apply.

| part | in this model | licence according to its publisher |
|---|---|---|
| speech encoder and decoder | {whisper} | Whisper: MIT in OpenAI's repository, Apache-2.0 on some model cards |
| language model, tokenizer | {llm} | Qwen3: Apache-2.0; Llama, Gemma: licences of their own; see the model card |
| projector, adapters, router | trained | chosen by whoever trained them; the corpora have their own terms |

If a backbone is another model than these, its own terms apply instead. The toolkit that wrote this page,
zipperasr, is licensed under Apache-2.0, which does not extend to its output.
"""


def public_name(backbone: str) -> str:
    """Return a hub id unchanged, and the name of a directory without its path on this machine."""
    return Path(backbone).name if Path(backbone).is_dir() else backbone
