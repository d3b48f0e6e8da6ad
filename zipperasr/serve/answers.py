"""Response formats of OpenAI's transcription API: json, text, srt, verbose_json, vtt.

Fields that this model does not compute (no_speech_prob, seek, ids of tokens) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.responses import JSONResponse, PlainTextResponse, Response

from zipperasr.languages import LanguageTable
from zipperasr.serve.service import Recognised
from zipperasr.transcribe.doubts import doubts
from zipperasr.transcribe.formats import srt, txt, vtt
from zipperasr.transcribe.transcript import Segment, Transcript, Word

WITH_ALTERNATIVES = ("json", "verbose_json")


def answer(
    found: Recognised, response_format: str, languages: LanguageTable, *, logprobs: bool = False, n_best: int = 0
) -> Response:
    """Return the response in one of `RESPONSE_FORMATS`.

    logprobs: with those of all tokens, in `json` only. n_best: number of alternatives per segment, in
    `WITH_ALTERNATIVES` only; 0: none.
    """
    return RESPONSE_FORMATS[response_format](found, languages, logprobs, n_best)


def plain_json(transcript: Transcript, logprobs: bool = False) -> dict:
    """Content of `json`. logprobs: with those of all tokens."""
    included = {"logprobs": token_logprobs(transcript.segments)} if logprobs else {}
    return {"text": transcript.text, **included, "usage": _usage(transcript)}


def token_logprobs(segments: Iterable[Segment]) -> list[dict]:
    """OpenAI's `logprobs`: text, UTF-8 bytes and natural log-probability of each token, segment after segment."""
    return [
        {"token": token.text, "bytes": list(token.text.encode()), "logprob": token.logprob}
        for segment in segments
        for token in segment.tokens
    ]


def _json(found: Recognised, languages: LanguageTable, logprobs: bool, n_best: int) -> Response:
    fields = plain_json(found.transcript, logprobs)
    if n_best:
        fields["zipperasr"] = {"alternatives": [_alternatives(one, n_best) for one in found.transcript.segments]}
    return JSONResponse(fields)


def _verbose_json(found: Recognised, languages: LanguageTable, logprobs: bool, n_best: int) -> Response:
    """OpenAI's fields, and `zipperasr` for what they do not cover; OpenAI's clients pass it through."""
    transcript = found.transcript
    segments = [
        {
            "id": number,
            "start": one.start_s,
            "end": one.end_s,
            "text": one.text,
            "note": one.note,
            "doubts": doubts(one, transcript.lang),
            "avg_logprob": one.avg_logprob,
            **({"alternatives": _alternatives(one, n_best)} if n_best else {}),
            "words": [word_fields(word) for word in one.words],
        }
        for number, one in enumerate(transcript.segments)
    ]
    own = {
        "language_code": transcript.lang,
        "language_probabilities": transcript.lang_probs,
        "waited_s": found.waited_s,
        "transcribed_s": found.transcribed_s,
    }
    content = {
        "task": "transcribe",
        "language": languages[transcript.lang].name.lower() if transcript.lang else "",
        "duration": transcript.duration_s,
        "text": transcript.text,
        "segments": segments,
        **_words(transcript),
        "usage": _usage(transcript),
        "zipperasr": own,
    }
    return JSONResponse(content)


def _alternatives(segment: Segment, n_best: int) -> list[dict]:
    """The best texts with their scores; none without speech."""
    return [one._asdict() for one in segment.alternatives[:n_best]]


def _words(transcript: Transcript) -> dict:
    """OpenAI's `words`, whatever the granularity; {} if the model has no aligner: its clients require the times."""
    timed = [word for segment in transcript.segments for word in segment.words if word.start_s is not None]
    return {"words": [word_fields(word) for word in timed]} if timed else {}


def word_fields(word: Word) -> dict:
    """OpenAI's fields and `confidence`, without those that are not known."""
    fields = {"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": word.confidence}
    return {name: value for name, value in fields.items() if value is not None}


def _usage(transcript: Transcript) -> dict:
    return {"type": "duration", "seconds": transcript.duration_s}


def _plain(form: Callable[[str, Transcript], str], media_type: str) -> Callable[..., Response]:
    return lambda found, *_: PlainTextResponse(form("", found.transcript), media_type=media_type)


RESPONSE_FORMATS: dict[str, Callable[[Recognised, LanguageTable, bool, int], Response]] = {
    "json": _json,
    "text": _plain(txt, "text/plain"),
    "srt": _plain(srt, "text/plain"),
    "verbose_json": _verbose_json,
    "vtt": _plain(vtt, "text/vtt"),
}
