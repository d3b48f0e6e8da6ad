"""Join the texts of utterances, with a space between them unless their script has none between sentences."""

from __future__ import annotations

from collections.abc import Sequence

import regex

# Chinese and Japanese. Thai has no space between words, but one between sentences.
_UNSPACED = r"[\p{Script_Extensions=Han}\p{Script_Extensions=Hiragana}\p{Script_Extensions=Katakana}]"
_ENDS, _STARTS = regex.compile(rf"{_UNSPACED}\P{{L}}*$"), regex.compile(rf"^\P{{L}}*{_UNSPACED}")


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts that are not empty. `你好`, `再见` -> `你好再见`; `hello`, `world` -> `hello world`."""
    joined = ""
    for text in filter(None, (text.strip() for text in texts)):
        unspaced = not joined or (_ENDS.search(joined) and _STARTS.search(text))
        joined += text if unspaced else f" {text}"
    return joined
