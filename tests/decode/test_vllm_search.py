"""The loop around vLLM's steps, with an engine that knows the tokens in advance; test_vllm.py has the real one."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest
import torch

from zipperasr.decode.greedy import Encoded
from zipperasr.decode.vllm_search import NO_REPEAT, VllmSearch, _keep

STOP = 9


class Engine:
    """An utterance's first embedding is the number of tokens before its end token."""

    def __init__(self):
        self.running, self.params, self.aborted, self.most = {}, {}, [], 0

    def add_request(self, request, prompt, params):
        self.running[request], self.params[request] = [int(prompt["prompt_embeds"][0, 0]), 0], params

    def abort_request(self, requests):
        self.aborted += requests
        for request in requests:
            del self.running[request]

    def step(self):
        self.most, answers = max(self.most, len(self.running)), []
        for request, state in list(self.running.items()):
            state[1] += 1
            limit = self.params[request].max_tokens
            if state[1] > state[0] or state[1] == limit:
                tokens = [*range(state[0]), STOP][:limit]
                logprobs = SimpleNamespace(logprobs=[-0.5] * (len(tokens) - 1) + [1e-9])
                answers.append(
                    SimpleNamespace(
                        request_id=request, outputs=[SimpleNamespace(token_ids=tuple(tokens), logprobs=logprobs)]
                    )
                )
                del self.running[request]
        return answers


@pytest.fixture
def search() -> VllmSearch:
    made = VllmSearch.__new__(VllmSearch)
    made._llm, made._params, made._final = SimpleNamespace(llm_engine=Engine()), SimpleNamespace, "final"
    made._numbers = count()
    return made


def utterance(name: str, num_tokens: int, most: int = 8) -> Encoded:
    return Encoded(name, torch.full((3, 2), float(num_tokens)), most)


def test_utterances_end_in_any_order_with_their_tokens_and_probabilities(search):
    found = list(search.run([utterance("a", 3), utterance("b", 1), utterance("c", 8, 5)], stops=[STOP]))
    assert [(one.key, one.tokens, one.ended) for one in found] == [
        ("b", [0], True),
        ("a", [0, 1, 2], True),
        ("c", [0, 1, 2, 3, 4], False),
    ]
    assert [(len(one.logprobs), one.end_logprob) for one in found] == [(1, 0.0), (3, 0.0), (5, None)]


def test_an_utterance_ends_before_what_is_not_a_number(search):
    one = utterance("a", 3)
    logprobs = SimpleNamespace(logprobs=[-0.5, float("nan"), float("nan")])
    _keep(SimpleNamespace(token_ids=(4, 0, STOP), logprobs=logprobs), one, [STOP])
    assert (one.tokens, one.logprobs, one.undefined, one.ended) == ([4], [-0.5], True, False)


def test_none_means_a_step_without_further_utterances(search):
    engine, steps = search._llm.llm_engine, []

    def arriving():
        yield utterance("a", 4)
        for _ in range(2):
            steps.append(engine.running["0"][1])
            yield None
        yield utterance("b", 0)

    assert [one.key for one in search.run(arriving(), stops=[STOP])] == ["b", "a"]
    assert steps == [0, 1] and engine.most == 2


def test_dropped_utterances_are_aborted_and_not_yielded(search):
    gone, engine = [], search._llm.llm_engine

    def check():
        if engine.running.get("1", (0, 0))[1] == 2:
            gone.append("b")

    found = search.run([utterance("a", 3), utterance("b", 6)], check, lambda one: one.key in gone, stops=[STOP])
    assert [one.key for one in found] == ["a"]
    assert engine.aborted == ["1"] and engine.params["1"].max_tokens == 8


def test_an_exception_leaves_no_utterance_in_vllm(search):
    engine = search._llm.llm_engine

    def check():
        if engine.running:
            raise RuntimeError("closed")

    with pytest.raises(RuntimeError, match="closed"):
        list(search.run([utterance("a", 3), utterance("b", 6)], check, stops=[STOP]))
    assert not engine.running and engine.aborted == ["0", "1"]
    assert [one.key for one in search.run([utterance("a", 3)], stops=[STOP])] == ["a"]


def test_an_utterance_is_decoded_again_as_modified(search):
    def again(one: Encoded) -> bool:
        if one.no_repeat:
            return False
        one.no_repeat = 4
        one.restart()
        return True

    (found,) = search.run([utterance("a", 3)], stops=[STOP], again=again)
    assert found.tokens == [0, 1, 2] and found.no_repeat == 4
    assert [params.extra_args for params in search._llm.llm_engine.params.values()] == [None, {NO_REPEAT: 4}]
