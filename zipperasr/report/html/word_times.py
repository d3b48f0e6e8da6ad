"""Times and confidences of the words of utterances whose audio is beside the page.

In: a decoding whose model has an aligner, audio. Out: rows for the page. Stage 7 keeps texts only, and the aligner is
usually trained after it, so these few utterances are decoded again, with the encoder's frames. An utterance that then
gets another text than stage 7 gave it has no times. The rows are kept in <decoding>/<set>/word_times, and later reports
decode only utterances that have no row there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipperasr.align.aligner import Aligner
from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.datadir.entry import write_lines
from zipperasr.report.collect import Decoding
from zipperasr.report.html.recordings import SortedTable
from zipperasr.score.scores_table import SetScore

if TYPE_CHECKING:
    from zipperasr.transcribe.transcriber import Transcriber
    from zipperasr.transcribe.transcript import Transcript

DIRECTORY, ROWS = "word_times", "words.jsonl"
TIMING = 1  # increase it when the same inputs would give other rows

Row = list[Any]  # id, words
Words = list[list[Any]]  # [[word, start in seconds, end in seconds, confidence or None], ...]; empty: no times


class WordTimes:
    """Word times of one decoding. The model is loaded when they are not known from an earlier report.

    Raises ValueError or OSError if the aligner or the model cannot be used.
    """

    def __init__(self, decoding: Decoding):
        self._decoding, self._model = decoding, decoding.model.directory
        if decoding.algorithm != "greedy":
            got = decoding.algorithm or "an unknown search, without run.json"
            raise ValueError(f"got {got}; words have times and confidences in greedy search only")
        aligner = Aligner.load(self._model).config
        self._inputs = {"model": aligner.model, "aligner": aligner.weights, "regime": decoding.regime}

    @staticmethod
    def are_wanted(decoding: Decoding) -> bool:
        """Whether the model has an aligner; nothing is loaded."""
        return Aligner.is_in(decoding.model.directory)

    @cached_property
    def _transcriber(self) -> Transcriber:
        from zipperasr.transcribe.transcriber import Transcriber

        return Transcriber.from_pretrained(self._model, regime=self._decoding.regime or None, words=True)

    def rows(self, score: SetScore, wav_scp: Path, ids: Sequence[str]) -> list[Row]:
        """Rows of the utterances of a test set that have word times, in the order of their sorted ids."""
        from zipperasr.transcribe.calibration import FILE

        directory = self._decoding.directory / score.set / DIRECTORY
        text, calibration = directory.with_name("text"), self._model / FILE
        files = {"wav_scp": wav_scp, "text": text, **({"calibration": calibration} if calibration.is_file() else {})}
        inputs = fingerprint(**files, **self._inputs, timing=TIMING)
        known: dict[str, Words] = {}
        if is_current(directory, inputs):
            with (directory / ROWS).open(encoding="utf-8") as stream:
                known = dict(map(json.loads, stream))
        if new := sorted(set(ids) - known.keys()):
            known.update(self._timed(score.language, wav_scp, text, new))
            with atomic_path(directory) as temporary:
                temporary.mkdir()
                write_lines(temporary / ROWS, (json.dumps(row, ensure_ascii=False) for row in sorted(known.items())))
                mark_current(temporary, inputs)
        return [[utt, known[utt]] for utt in sorted(ids) if known[utt]]

    def _timed(self, lang: str, wav_scp: Path, text: Path, ids: Sequence[str]) -> Iterator[tuple[str, Words]]:
        """Decode again; no words for utterances with another text, or with too many characters for their frames."""
        from zipperasr.transcribe.sources import Recording

        texts, entries = SortedTable(text), SortedTable(wav_scp)
        displayed = {utt: texts.value(utt).split() for utt in ids}
        recordings = [Recording(utt, entries.value(utt)) for utt in ids]
        for recording, found in self._transcriber.transcribe(recordings, lang):
            if isinstance(found, Exception):
                raise found
            words = list(_words(found))
            timed = found.text.split() == displayed[recording.id] and all(word[1] is not None for word in words)
            yield recording.id, words if timed else []


def _words(transcript: Transcript) -> Iterator[list[Any]]:
    for segment in transcript.segments:
        for word in segment.words:
            confidence = None if word.confidence is None else round(word.confidence, 3)
            yield [word.text, word.start_s, word.end_s, confidence]
