"""N-best lists: the best texts of beam search for one utterance, with their scores.

In: what the search found. Out: `Alternative`s, and nbest.jsonl, which stage 7 writes and stage 8 reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FILE = "nbest.jsonl"


class Alternative(NamedTuple):
    """A text, and the score by which beam search ranks it.

    score: sum of the natural log-probabilities of its tokens, divided by their number to the power `length_penalty`.
    The end token is one of them; its log-probability counts as 0 if the length limit forces it.
    """

    text: str
    score: float


Alternatives = tuple[Alternative, ...]  # best first; the first is the hypothesis


def distinct(found: Iterable[Alternative], most: int | None = None) -> Alternatives:
    """The first alternative with each text, at most `most` of them. found: best first."""
    best: dict[str, Alternative] = {}
    for one in found:
        best.setdefault(one.text, one)
    return tuple(best.values())[:most]


def write_nbest(path: Path, lists: Mapping[str, Alternatives], ids: Sequence[str]) -> None:
    """Write a line for each of `ids`: {"id": ..., "alternatives": [{"text": ..., "score": ...}, ...]}."""
    with path.open("w", encoding="utf-8") as stream:
        for utt_id in ids:
            plain = distinct(one._replace(text=" ".join(one.text.split())) for one in lists[utt_id])
            line = {"id": utt_id, "alternatives": [one._asdict() for one in plain]}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_nbest(path: Path) -> dict[str, Alternatives]:
    """Read the lists back, by utterance id. Raises ValueError with file and line."""
    lists: dict[str, Alternatives] = {}
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line)
                utt_id, found = row["id"], tuple(Alternative(one["text"], one["score"]) for one in row["alternatives"])
                is_whole = bool(found) and all(isinstance(one.text, str) and math.isfinite(one.score) for one in found)
            except (ValueError, KeyError, TypeError, RecursionError):
                is_whole = False
            if not is_whole or not isinstance(utt_id, str) or utt_id in lists:
                wanted = 'an id that is not listed above and its alternatives, {"text": ..., "score": ...}'
                raise ValueError(f"{path}:{number}: got {line.strip()[:80]!r}, wanted {wanted}; rerun stage 7")
            lists[utt_id] = found
    return lists
