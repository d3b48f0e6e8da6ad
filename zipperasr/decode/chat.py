"""Output that answers instead of transcribing: how chat models begin when they forget their task.

In: a text. Out: whether it begins so. A handful of openings, in the languages that LLMs answer in most. Someone may
well say such a sentence, so it is counted and noted, never cut.
"""

from __future__ import annotations

import regex

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
_BEGINS = regex.compile("|".join(f"(?:{opening})" for opening in _OPENINGS), regex.IGNORECASE)


def is_chat_like(text: str) -> bool:
    """True if the text begins as a chat reply does."""
    return _BEGINS.match(text.strip()) is not None
