"""Lists of phrases in the form that the search takes."""

from __future__ import annotations

from functools import cached_property, lru_cache

from zipperasr.align.aligner import Aligner
from zipperasr.decode.phrases import Phrase, PhraseTrie
from zipperasr.decode.spotted import Spotter
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.transcribe.word_times import load_aligner

LISTS = 2  # kept ready: those of a command, for languages with and without spaces


class HintLists:
    """Lists of phrases, prepared for the search; the last ones are kept.

    With an aligner that fits the model, `aligner` or its own, phrases are found in the speech; otherwise the search
    alone follows them.
    """

    def __init__(self, opened: Pretrained, aligner: Aligner | None):
        self._opened, self._given = opened, aligner
        self.prepared = lru_cache(LISTS)(self._prepared)

    @cached_property
    def aligner(self) -> Aligner | None:
        return self._given or load_aligner(self._opened, needed=False)

    def _prepared(self, phrases: tuple[Phrase, ...], spaced: bool) -> PhraseTrie | Spotter:
        """spaced: whether words have spaces between them."""
        if self.aligner is None:
            return PhraseTrie(self._opened.tokenizer, phrases, spaced)
        return Spotter(self.aligner, self._opened.tokenizer, phrases, spaced)
