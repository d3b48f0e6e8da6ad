"""A phrase that the aligner finds replaces what the model wrote there; the text that the aligner prefers is kept."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.decode.test_phrases import SAID
from tests.model import tiny
from zipperasr.align.aligner import Aligner, AlignerConfig
from zipperasr.decode.greedy import Encoded
from zipperasr.decode.phrases import Choice, Phrase
from zipperasr.decode.spotted import ForcedWalk, Spotter

LETTERS = "abcdefghijklmnopqrstuvwxyz"
FRAMES_EACH = 3


class Given(Aligner):
    """An aligner whose frames are the log-likelihoods of its classes."""

    def __init__(self) -> None:
        super().__init__(AlignerConfig("", len(LETTERS) + 1, 1, 1, 0.5, LETTERS))

    def _scores(self, frames):
        return torch.cat([frames, frames[:, 1:].logsumexp(1, keepdim=True)], dim=1).numpy()


def frames_of(said: str, cost: float = 20.0) -> torch.Tensor:
    """Frames in which these characters are spoken, and silence for a space; all others cost that much."""
    classes = [LETTERS.find(letter) + 1 for letter in said for _ in range(FRAMES_EACH)]
    frames = torch.full((len(classes), len(LETTERS) + 1), -cost)
    frames[range(len(classes)), classes] = 0.0
    return frames


def decoded(said: str, written: str, phrases: list[Phrase], spaced: bool = True, most: int = 40) -> tuple[str, int]:
    """Search with a model that writes one text, or continues what it must write with as many of its last characters as
    are left; returns the text and the number of searches."""
    tokenizer, searches = tiny.llm_tokenizer(), 0  # a token is a byte
    spotter = Spotter(Given(), tokenizer, phrases, spaced)
    found = Encoded("key", torch.zeros(1), most, revision=spotter.revision(frames_of(said)))
    again = True
    while again:
        searches += 1
        model = tokenizer(written, add_special_tokens=False)["input_ids"]
        while len(found.tokens) < len(model) or (found.walk and found.walk.candidates(found.tokens)):
            best = Choice(model[min(len(found.tokens), len(model) - 1)], -0.5)
            known = {} if found.walk is None else {one: -9.0 for one in found.walk.candidates(found.tokens)}
            choice = best if found.walk is None else found.walk.choose(found.tokens, most, best, known)
            found.tokens.append(choice.token)
            found.logprobs.append(choice.logprob)
        found.ended, found.end_logprob = True, -0.1
        again = found.revision is not None and found.revision.again(found)
    assert len(found.logprobs) == len(found.tokens)
    return tokenizer.decode(found.tokens), searches


@pytest.mark.parametrize(
    ("said", "written", "phrases", "wanted", "searches"),
    [
        ("the bat is", SAID, ["bat"], "the bat is", 2),
        ("the bat is", SAID, ["Bat"], "the bat is", 2),  # in lower case like the text
        ("the bat is", "The cat is", ["Bat"], "The Bat is", 2),
        ("the bat is", SAID, ["dog", "bax"], SAID, 1),  # nothing of the list is found
        ("the bat is", "the bat is", ["bat"], "the bat is", 1),  # is there already
        ("the bat is", "the bath is", ["bat"], "the bath is", 2),  # is only the beginning of a word
        ("bat is the", "cat is the", ["bat"], "bat is the", 2),
        ("the cat is bat", "the cat is cat", ["bat"], "the cat is bat", 2),
        ("the cat is bat", "the cat is", ["bat"], "the cat is bat", 2),  # not written at all
        ("the bat is bad", "the cat is cat", ["bad", "bat"], "the bat is bad", 3),
        ("the bat is", SAID, ["ü", "!!"], SAID, 1),  # unknown to the aligner, no characters
    ],
)
def test_a_phrase_is_put_where_it_is_found(said, written, phrases, wanted, searches):
    assert decoded(said, written, [Phrase(text, 4.0) for text in phrases]) == (wanted, searches)


def test_the_text_that_the_aligner_prefers_is_kept():
    assert decoded("the cat is", SAID, [Phrase("cap", 17.0)]) == (SAID, 2)  # with one frame of "p", which costs 20
    assert decoded("the cat is", SAID, [Phrase("cap", 16.0)]) == (SAID, 1)


def test_without_spaces_a_phrase_may_begin_anywhere():
    assert decoded("thebatis", "thecatis", [Phrase("bat", 4.0)], spaced=False)[0] == "thebatis"
    assert decoded("thebatis", "thecatis", [Phrase("bat", 4.0)], spaced=True)[0] == "thecatis"


def test_a_phrase_beyond_the_limit_of_tokens_is_left_out():
    assert decoded("the bat is", SAID, [Phrase("bat", 4.0)], most=7) == (SAID, 1)


def test_a_forced_walk_gives_its_tokens_then_the_most_probable():
    walk = ForcedWalk([5, 6])
    assert [walk.candidates(tokens) for tokens in ([], [5], [5, 6])] == [[5], [6], []]
    best = Choice(9, -0.1)
    assert walk.choose([5], 3, best, {6: -2.0}) == Choice(6, -2.0)
    assert walk.choose([5, 6], 3, best, {}) == best


def test_what_is_restored_is_the_whole_of_the_best_search():
    spotter = Spotter(Given(), tiny.llm_tokenizer(), [Phrase("cap", 17.0)], True)
    tokens = tiny.llm_tokenizer()(SAID, add_special_tokens=False)["input_ids"]
    found = Encoded("key", torch.zeros(1), 40, revision=spotter.revision(frames_of(SAID)))
    first = dataclasses.replace(
        found, tokens=tokens, logprobs=[-0.5] * len(tokens), end_logprob=-0.2, ended=True, no_repeat=4
    )
    assert first.revision.again(first) and first.tokens == [] and first.no_repeat == 0
    first.tokens, first.logprobs, first.end_logprob, first.ended = tokens[:2], [-1.0] * 2, None, False
    assert not first.revision.again(first)
    assert (first.tokens, first.end_logprob, first.ended, first.no_repeat) == (tokens, -0.2, True, 4)


def test_that_there_was_a_loop_is_remembered_with_a_text_that_is_preferred():
    tokenizer = tiny.llm_tokenizer()
    wrong, right = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (SAID, "the bat is"))
    spotter = Spotter(Given(), tokenizer, [Phrase("bat", 4.0)], True)
    found = Encoded("key", torch.zeros(1), 40, no_repeat=4, revision=spotter.revision(frames_of("the bat is")))
    found.tokens, found.logprobs, found.ended = wrong, [-0.5] * len(wrong), True
    assert found.revision.again(found) and found.no_repeat == 0
    found.tokens, found.logprobs, found.ended = right, [-0.5] * len(right), True
    assert not found.revision.again(found)
    assert (found.tokens, found.no_repeat) == (right, 4)
