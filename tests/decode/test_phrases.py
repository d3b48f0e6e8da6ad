"""Greedy search follows a phrase while that is cheap, and a phrase that it leaves has no trace."""

from __future__ import annotations

import dataclasses
import math
import random
import string

import pytest
import torch
from transformers import AutoTokenizer

from tests.decode.test_decoder import CHUNK_FRAMES, GREEDY
from tests.model import tiny
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.greedy import Encoded, GreedySearch
from zipperasr.decode.hooks import Hooks
from zipperasr.decode.phrases import Choice, Phrase, PhraseTrie, PhraseWalk
from zipperasr.model.backbones.merged_decoder import MergedDecoder

END = 1_000_000
SAID = "the cat is"
COSTS = {"b": 2.0, "d": 1.0}  # of a letter where another one is most probable; all others: 20


def searched(phrases: list[Phrase], spaced: bool = True, most: int = 40, best: float = -0.5) -> tuple[str, list[float]]:
    """Search with a model that copies SAID position by position; returns the text and the log-probabilities.

    best: log-probability of the most probable token.
    """
    tokenizer = tiny.llm_tokenizer()  # a token is a byte
    said = [*tokenizer(SAID)["input_ids"], END]
    costs = {token: COSTS.get(letter, 20.0) for letter in string.printable for token in tokenizer(letter)["input_ids"]}
    walk = PhraseWalk(PhraseTrie(tokenizer, phrases, spaced), (END,))
    tokens: list[int] = []
    logprobs: list[float] = []
    while len(tokens) < most:
        token = said[min(len(tokens), len(SAID))]
        known = {other: best - costs[other] * (other != token) for other in walk.candidates(tokens)}
        choice = walk.choose(tokens, most - len(tokens), Choice(token, best), known)
        if choice.dropped:
            del tokens[-choice.dropped :], logprobs[-choice.dropped :]
        if choice.token == END:
            break
        tokens.append(choice.token)
        logprobs.append(choice.logprob)
    return tokenizer.decode(tokens), logprobs


@pytest.mark.parametrize(
    ("phrases", "wanted"),
    [
        ([], SAID),
        ([Phrase("bat", 1.0)], "the bat is"),  # costs 2 for two tokens, the space included
        ([Phrase("bat", 0.9)], SAID),
        ([Phrase("bad", 0.9)], SAID),
        ([Phrase("bad", 1.0)], "the bad is"),
        ([Phrase("cad", 0.25)], "the cad is"),  # begins as the model does
        ([Phrase("cad", 0.2)], SAID),
        ([Phrase("bax", 1.0)], SAID),  # left at its last letter
        ([Phrase("bax", 1.0), Phrase("bat", 1.0)], "the bat is"),
        ([Phrase("bat", 1.0), Phrase("bat dad", 1.0)], "the bat is"),  # a complete phrase stays
        ([Phrase("bat xs", 3.5)], SAID),  # costs 22 for six tokens
        ([Phrase("bat", 3.5), Phrase("bat xs", 3.5)], "the bat is"),  # no less after the shorter one
        ([Phrase("bat", 4.0), Phrase("bat xs", 4.0)], "the bat xs"),
        ([Phrase("bat", 0.4), Phrase("batzzzz", 9.0)], SAID),  # each is accepted by its own weight
        ([Phrase("bat", 0.5), Phrase("batzzzz", 9.0)], "the bat is"),
        ([Phrase("BAT", 1.0)], "the bat is"),  # also in lower case
        ([Phrase("at", 9.0)], SAID),  # not inside a word
    ],
)
def test_phrases_are_followed_as_long_as_their_tokens_cost_at_most_the_weight(phrases, wanted):
    assert searched(phrases)[0] == wanted


def test_log_probabilities_are_those_of_the_chosen_tokens():
    plain = [-0.5] * len(SAID)
    assert searched([Phrase("bat", 1.0)])[1] == [*plain[:4], -2.5, *plain[5:]]
    assert searched([Phrase("bax", 1.0)])[1] == plain


def test_without_spaces_between_words_a_phrase_begins_anywhere():
    assert searched([Phrase("ad", 1.0)], spaced=False)[0] == "the cad is"


@pytest.mark.parametrize(
    ("others", "wanted"),
    [([], "the cab is"), ([Phrase("t i", 2.0)], SAID), ([Phrase("d i", 2.0)], "the cad is")],
)
def test_after_a_complete_phrase_a_longer_one_competes_with_those_that_begin(others, wanted):
    assert searched([Phrase("ca", 2.0), Phrase("cab", 2.0), *others], spaced=False)[0] == wanted


def test_a_token_that_the_model_is_sure_of_stays():
    assert searched([Phrase("bat", 1.0)], best=math.log(0.89))[0] == "the bat is"
    assert searched([Phrase("bat", 1.0)], best=math.log(0.91))[0] == SAID
    assert searched([Phrase("cad", 1.0)], best=math.log(0.91))[0] == SAID


def test_no_phrase_replaces_the_end():
    assert searched([Phrase("bbbbbb", 100.0)], spaced=False)[0] == f"bbbbbb{SAID[6:]}"


def test_a_phrase_that_does_not_fit_into_the_limit_is_not_begun():
    assert searched([Phrase("bat", 1.0)], most=6)[0] == "the ca"
    assert searched([Phrase("bat", 1.0)], most=7)[0] == "the bat"
    assert searched([Phrase("bat", 0.4), Phrase("batzzzz", 9.0)], most=7)[0] == "the cat"


@pytest.mark.parametrize("files", ["qwen3", "mini"])
def test_a_phrase_has_the_tokens_of_a_transcript_at_the_beginning_and_inside(files, request, recipe):
    path = recipe / "local" / "mini" / "weights" / "llm" if files == "mini" else request.getfixturevalue("qwen3_files")
    tokenizer = AutoTokenizer.from_pretrained(path)
    for phrase, spaced in (("Zorblat Müller", True), ("Ёлка", True), ("猫田", False), ("แมวน้อย", False)):
        trie = PhraseTrie(tokenizer, [Phrase(phrase, 1.0)], spaced)
        before = "de l'" if spaced else "好。"
        for text in (phrase, f"ja {phrase}", before + phrase):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert any(found(node, ids[at:]) for at in range(len(ids)) for node in trie.starts(ids[:at])), (text, ids)


def found(node, ids: list[int]) -> bool:
    """Whether these tokens, to the last one, are a phrase."""
    for token in ids:
        if token not in node.children:
            return False
        node = node.children[token]
    return node.is_complete(0.0)


@pytest.fixture(scope="module")
def model(backbones):
    return tiny.sft_model(tiny.model_config(backbones))


def never_completed() -> list[Phrase]:
    rng = random.Random(1)
    return [Phrase("".join(rng.sample(string.printable[:94], 12)), 0.5) for _ in range(300)]


def decoded(model, utterances, phrases: list[Phrase], config=GREEDY) -> dict[str, tuple]:
    tokenizer = tiny.llm_tokenizer()
    decoder = Decoder(model, tokenizer, config, CHUNK_FRAMES)
    trie = PhraseTrie(tokenizer, phrases, spaced=False)
    hooks = Hooks(phrases=lambda one: trie if int(one.utt_id[1:]) % 2 else None)
    return {
        one.example.utt_id: (one.text, one.tokens, one.retried)
        for one in decoder.run([utterances[:8], utterances[8:]], hooks)
    }


def test_phrases_that_are_never_completed_change_no_hypothesis(model, utterances, monkeypatch):
    rewound = []
    rewind = MergedDecoder.rewind
    monkeypatch.setattr(
        MergedDecoder, "rewind", lambda llm, row, count: rewound.append(count) or rewind(llm, row, count)
    )
    wanted = decoded(model, utterances, [])
    phrases = never_completed()
    assert decoded(model, utterances, phrases) == wanted
    assert len(rewound) > 10 and max(rewound) > 1
    one_row = dataclasses.replace(GREEDY, batch_size=1)
    assert decoded(model, utterances, phrases, one_row) == decoded(model, utterances, [], one_row)


def test_an_utterance_decoded_again_because_of_a_loop_follows_phrases_from_its_beginning(model, utterances):
    config = dataclasses.replace(GREEDY, tokens_per_s=7.0, tokens_floor=4, retry_loops=True)
    wanted = decoded(model, utterances, [], config)
    hinted = [utt_id for utt_id, (*_, retried) in wanted.items() if retried and int(utt_id[1:]) % 2]
    assert hinted
    assert decoded(model, utterances, never_completed(), config) == wanted
    found = decoded(model, utterances, [Phrase("zi", 1000.0)], config)
    assert any(found[utt_id][2] for utt_id in hinted)
    assert all("zi" in found[utt_id][0] for utt_id in hinted)


def test_rows_that_are_dropped_while_another_one_goes_back_change_no_tokens(model, monkeypatch):
    generator, width, tokenizer = (
        torch.Generator().manual_seed(1),
        model.causal_lm.config.hidden_size,
        tiny.llm_tokenizer(),
    )
    inputs = [torch.randn(4 + number, width, generator=generator) for number in range(10)]
    trie = PhraseTrie(tokenizer, never_completed(), spaced=False)
    rewound, dropped = [], set()
    rewind = MergedDecoder.rewind
    monkeypatch.setattr(
        MergedDecoder, "rewind", lambda llm, row, count: rewound.append(count) or rewind(llm, row, count)
    )

    def searched_rows(hinted: bool, drop: bool) -> dict[object, list[int]]:
        def is_dropped(one: Encoded) -> bool:
            if drop and one.key % 3 == 0 and len(rewound) > len(dropped):  # just after another row went back
                dropped.add(one.key)
            return one.key in dropped

        walks = [PhraseWalk(trie, ()) if hinted and number % 3 == 1 else None for number in range(10)]
        encoded = [Encoded(number, one, 24, walk=walks[number]) for number, one in enumerate(inputs)]
        search = GreedySearch(MergedDecoder(model.causal_lm, model.llm_family), (), rows=5, positions=4096)
        return {one.key: one.tokens for one in search.run(encoded, is_dropped=is_dropped)}

    wanted = searched_rows(hinted=False, drop=False)
    found = searched_rows(hinted=True, drop=True)
    assert len(rewound) > 3 and dropped
    assert found == {key: tokens for key, tokens in wanted.items() if key not in dropped}


def test_phrases_of_one_utterance_do_not_change_others(model, utterances):
    wanted, found = decoded(model, utterances, []), decoded(model, utterances, [Phrase("zipper", 1000.0)])
    for utt_id, (text, *_) in found.items():
        if int(utt_id[1:]) % 2:
            assert "zipper" in text
        else:
            assert (text, wanted[utt_id][0]) == (wanted[utt_id][0], text)
