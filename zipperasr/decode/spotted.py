"""Phrases that the aligner finds in an utterance, put where they are spoken.

In: an utterance as the search ended it, and the spans of phrases in its frames. Out: the utterance to search again: up
to the span as it was, then the phrase, then freely. The text that the aligner prefers is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import regex
from torch import Tensor

from zipperasr.align.aligner import Aligner
from zipperasr.align.spelling import characters
from zipperasr.align.spotting import Spot, find_spots, prefix_scores
from zipperasr.decode.phrases import Choice, Phrase
from zipperasr.model.prompt import hypothesis_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from zipperasr.decode.greedy import Encoded

COST = 0.4  # nats per character that a phrase of weight 1 may cost; at weight 4 fitted on spoken dev sentences
# Where a phrase may begin, with and without spaces between words.
_BEGINS = {True: regex.compile(r"(?<=^|[^\p{L}\p{M}\p{N}])\S"), False: regex.compile(r"(?!\s)\X")}
_INSIDE = regex.compile(r"[\p{L}\p{M}\p{N}]")  # does not follow a whole word


class Spotter:
    """A list of phrases, and the aligner that finds them.

    Args:
        spaced: words have spaces between them, as for `PhraseTrie`.

    A phrase with characters that the aligner does not know is never found.
    """

    def __init__(self, aligner: Aligner, tokenizer: PreTrainedTokenizerBase, phrases: Sequence[Phrase], spaced: bool):
        self.aligner, self.tokenizer, self.spaced = aligner, tokenizer, spaced
        known = len(aligner.config.characters)
        spelled = [(one, aligner.labels(one.text)) for one in phrases]
        self._spelled = [(one, labels) for one, labels in spelled if labels and max(labels) <= known]

    def revision(self, frames: Tensor) -> Revision | None:
        """Return how to revise an utterance with these frames (frames, encoder width); None if it has no phrase."""
        scores = self.aligner.relative_scores(frames)
        labels = [labels for _, labels in self._spelled]
        spots = find_spots(scores, labels, [COST * one.weight for one, _ in self._spelled])
        if not spots:
            return None
        spots.sort(key=lambda spot: spot.first)
        return Revision(self, scores, [(spot, self._spelled[spot.phrase][0].text) for spot in spots])


class ForcedWalk:
    """The first tokens of an utterance; in place of a `PhraseWalk`."""

    def __init__(self, forced: Sequence[int]):
        self._forced = forced

    def restarted(self) -> ForcedWalk:
        return self

    def candidates(self, tokens: Sequence[int]) -> list[int]:
        """Return the token to append, if it is given."""
        return list(self._forced[len(tokens) : len(tokens) + 1])

    def choose(self, tokens: Sequence[int], allowed: int, best: Choice, logprobs: Mapping[int, float]) -> Choice:
        """Return the token to append; see `PhraseWalk.choose`."""
        return next((Choice(*found) for found in logprobs.items()), best)


class Revision:
    """The searches of one utterance, one after the other, and the best of them.

    Args:
        scores: (frames, classes), see `Aligner.relative_scores`.
        spots: in order of time, with the phrases.
    """

    def __init__(self, spotter: Spotter, scores: Tensor, spots: Sequence[tuple[Spot, str]]):
        self._spotter, self._scores, self._spots = spotter, scores, iter(spots)
        self._best: Encoded | None = None  # a copy
        self._best_score, self._text, self._places = 0.0, "", Tensor()

    @property
    def has_begun(self) -> bool:
        return self._best is not None

    def again(self, found: Encoded) -> bool:
        """Prepare a search with the next phrase, or else restore the best text; True if there is another search."""
        self._compare(found)
        assert self._best is not None
        for spot, phrase in self._spots:
            forced = self._forced(spot, phrase)
            if forced and len(forced) < found.max_tokens:
                found.restart()
                found.walk, found.no_repeat = ForcedWalk(forced), 0
                return True
        for name in ("tokens", "logprobs", "end_logprob", "ended", "no_repeat"):
            setattr(found, name, getattr(self._best, name))
        return False

    def _compare(self, found: Encoded) -> None:
        """Keep what was found if it is the first, or if the aligner prefers it and it has an end as the best has."""
        text = hypothesis_text(self._spotter.tokenizer, found.tokens)
        places = prefix_scores(self._scores, self._spotter.aligner.labels(text))
        score = float(places[-1, -1])
        if self._best is None or (found.ended >= self._best.ended and score > self._best_score):
            first = found if self._best is None else self._best
            self._best = replace(found, no_repeat=first.no_repeat)  # whether there was a loop
            self._best_score, self._text, self._places = score, text, places

    def _forced(self, spot: Spot, phrase: str) -> list[int]:
        """Tokens of the best text up to a span, and of the phrase; none if it has the phrase there."""
        text, space = self._text, " " if self._spotter.spaced and self._text else ""
        if text == text.lower() != text.upper():
            phrase = phrase.lower()
        begins = [*(match.start() for match in _BEGINS[self._spotter.spaced].finditer(text)), len(text)]
        lengths = [len(list(characters(text[:place]))) for place in begins]
        scores = self._places[spot.first, lengths]
        place = begins[len(begins) - 1 - int(scores.flip(0).argmax())]
        written, wanted = text[place:].lower(), phrase.lower()
        goes_on = self._spotter.spaced and _INSIDE.match(written, len(wanted))
        if written.startswith(wanted) and not goes_on:
            return []
        whole = (text[:place] if place < len(text) else text + space) + phrase
        return self._spotter.tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]
