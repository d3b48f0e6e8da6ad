"""Faults of a language model's output: repetition loops and chat replies.

In: tokens or words, or a text. Out: the longest loop; whether the text opens like a chat reply. Decoding uses them to
repair and annotate hypotheses, scoring to count them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import regex

LOOP_TIMES = 4  # consecutive repetitions of an n-gram that count as a loop
LONGEST = 20  # largest n-gram considered
COMPRESSION = 2.4  # zlib ratio above which a text counts as repetitive (Whisper's threshold)

# How chat models open a reply when they answer instead of transcribing, in the languages they answer in most often.
_OPENINGS = (
    r"as an ai\b",
    r"(sure|certainly|of course)[,!.:] ",
    r"(i'm|i am|we are) (sorry|unable)\b.*\b(audio|transcri|assist|help|hear)",
    r"i (can't|cannot|can not) (hear|listen|process|transcribe|access)\b",
    r"(here is|here's|the following is|this is) (the|your|a) transcri",
    r"the (transcription|transcript|audio|speaker|speech) (is|says|said|of)\b",
    r"how (can|may) i (help|assist) you\b",
    r"please provide (the|an|your) audio",
    r"</?think>",
    r"(hier ist|dies ist) (die|das|eine?) transkri",
    r"als (eine )?ki\b",
    r"voici la transcription",
    r"aquí (está|tienes) la transcripción",
    r"ecco la trascrizione",
    r"aqui está a transcrição",
    r"(вот|это) (текст )?(транскрипци|расшифровк)",
    r"(以下是|这是|好的[，,]|抱歉[，,]|作为一个?(ai|人工智能))",
    r"(以下は|申し訳(ありません|ございません))",
    r"(다음은|죄송합니다)",
)
_CHAT_REPLY = regex.compile("|".join(f"(?:{opening})" for opening in _OPENINGS), regex.IGNORECASE)


class Loop(NamedTuple):
    """units[start : start + times * size] is one n-gram repeated `times` times."""

    start: int
    size: int
    times: int


def longest_loop(units: Sequence) -> Loop:
    """The n-gram with the most consecutive repetitions, the shortest of several; `times` is 0 if there are no units."""
    best = Loop(0, min(1, len(units)), min(1, len(units)))
    for size in range(1, min(LONGEST, len(units) // 2) + 1):
        run = 0
        for place, (first, second) in enumerate(zip(units, units[size:], strict=False)):
            run = run + 1 if first == second else 0
            if 1 + run // size > best.times:
                best = Loop(place + 1 - run, size, 1 + run // size)
    return best


def cut_loop(units: Sequence, loop: Loop) -> Sequence:
    """The units up to the end of the n-gram's first occurrence."""
    return units[: loop.start + loop.size]


def compression_ratio(text: str) -> float:
    """Size in UTF-8 divided by its size after zlib; below 1 for short texts, which zlib enlarges."""
    raw = text.encode("utf-8")
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def is_chat_like(text: str) -> bool:
    """True if the text opens like a chat reply.

    A speaker may well say such a sentence, so hypotheses are flagged, never changed.
    """
    return _CHAT_REPLY.match(text.strip()) is not None
