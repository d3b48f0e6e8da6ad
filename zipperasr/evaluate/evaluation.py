"""Transcribe and score all languages of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from zipperasr.evaluate.results import LanguageResult, score_language
from zipperasr.evaluate.timed import TimedTranscription
from zipperasr.evaluate.utterances import Utterances

if TYPE_CHECKING:
    from zipperasr.transcribe.transcriber import Transcriber


def evaluate(transcriber: Transcriber, data: Utterances, normaliser: str) -> Sequence[LanguageResult]:
    """Transcribe and score, in the order of the model's languages; adds what cannot be transcribed to `left_out`.

    normaliser: own | whisper. Raises ValueError if nothing could be transcribed.
    """
    results = []
    with tqdm(total=sum(map(len, data.languages.values())), unit="utt", disable=None) as bar:
        transcribe = TimedTranscription(transcriber, bar.update)
        for language in transcriber.languages:
            utterances = data.languages.get(language.code, {})
            found = transcribe(utterances.values(), language.code)
            data.left_out += found.failures
            if found.texts:
                about = (data.path.name, language, utterances, found)
                results.append(score_language(*about, normaliser=normaliser, codes=transcriber.languages.codes))
    if not results:
        raise ValueError(f"{data.path}: no utterance could be transcribed; first: {data.left_out[0]}")
    return results
