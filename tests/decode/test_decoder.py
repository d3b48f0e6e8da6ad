"""Our greedy search gives the same hypotheses as transformers', whatever the order, the batch and the merging."""

from __future__ import annotations

import dataclasses
import random
import threading

import pytest
import torch

from tests.decode.by_transformers import transcribe_batch
from tests.model import tiny
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.beam import max_new_tokens
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.greedy import Encoded, GreedySearch
from zipperasr.decode.lookahead import ahead
from zipperasr.lora import VARIANTS
from zipperasr.lora.merging import merged
from zipperasr.model.backbones.merged_decoder import MergedDecoder
from zipperasr.output_faults import LOOP_TIMES, longest_loop

CHUNK_FRAMES = 40  # 0.4 s
GREEDY = DecodeConfig(tokens_per_s=20.0, tokens_floor=8)


@pytest.fixture(scope="module", params=["zipper_soft", "flylora"])
def model(backbones, request):
    return tiny.sft_model(tiny.model_config(backbones), request.param)


def texts(model, batches: list[list[Example]], config: DecodeConfig = GREEDY) -> dict[str, str]:
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    return {decoded.example.utt_id: decoded.text for decoded in decoder.run(batches)}


def test_hypotheses_equal_those_of_transformers(model, utterances):
    wanted = transcribe_batch(model, tiny.llm_tokenizer(), utterances, CHUNK_FRAMES, GREEDY)
    assert len(set(wanted)) > 8  # otherwise the comparison would prove little
    by_language = [[u for u in utterances if u.language == code] for code in tiny.CODES]
    for batches in ([utterances], by_language, [[utterance] for utterance in utterances]):
        assert texts(model, batches) == {u.utt_id: text for u, text in zip(utterances, wanted, strict=True)}


@pytest.mark.parametrize(("rows", "positions"), [(1, 4096), (3, 4096), (16, 4096), (16, 150), (16, 1)])
def test_continuous_batching_changes_no_hypothesis(model, utterances, rows, positions):
    config = dataclasses.replace(GREEDY, batch_size=rows, batch_positions=positions)
    wanted = texts(model, [[utterance] for utterance in utterances])
    order = random.Random(rows).sample(utterances, len(utterances))
    assert texts(model, [order[:5], order[5:]], config) == wanted


def test_an_utterance_whose_features_are_no_numbers_changes_no_other(model, utterances):
    """Its row is given to others, of which shorter ones do not fill what it has filled."""
    config = dataclasses.replace(GREEDY, batch_size=3)
    longest = max(utterances, key=lambda one: one.num_samples)
    bad = dataclasses.replace(longest, utt_id="bad", mel=torch.full_like(longest.mel, torch.nan))
    wanted = texts(model, [utterances], config)
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    found = {one.example.utt_id: one for one in decoder.run([[utterances[0], bad, *utterances[1:]]])}
    assert found.pop("bad").note == "cut off after 0 tokens: the model's output is not a number"
    assert {name: one.text for name, one in found.items()} == wanted


@pytest.mark.parametrize("ends", [False, True])
def test_log_probabilities_are_those_of_the_model_without_a_cache(model, utterances, ends):
    decoder = Decoder(model, tiny.llm_tokenizer(), GREEDY, CHUNK_FRAMES)
    decoder.stops = range(0, 256, 3) if ends else ()
    embed = model.causal_lm.get_input_embeddings()
    for decoded in decoder.run([utterances[:6]]):
        speech, _ = model.embed_speech(collate_speech([decoded.example]), CHUNK_FRAMES)
        prompt = len(decoded.example.prompt) + len(speech)
        ids = torch.tensor([*decoded.example.prompt, *decoded.tokens])
        head, tail = embed(ids).split([len(decoded.example.prompt), len(decoded.tokens)])
        with torch.no_grad():
            logits = model.llm(inputs_embeds=torch.cat([head, speech, tail])[None], use_cache=False).logits[0]
        wanted = logits[prompt - 1 :].log_softmax(-1).max(-1)  # the last one is of the end token
        assert tuple(wanted.indices[:-1].tolist()) == decoded.tokens
        assert decoded.logprobs == pytest.approx(wanted.values[:-1].tolist(), abs=1e-4)
        counted = wanted.values if ends else wanted.values[:-1]
        assert decoded.avg_logprob == pytest.approx(float(counted.mean()), abs=1e-4)
        assert decoded.note.startswith("" if ends else "cut off")


def test_a_cut_loop_has_the_log_probabilities_of_what_is_left(model, utterances):
    config = dataclasses.replace(GREEDY, tokens_per_s=7.0, tokens_floor=4, retry_loops=True)
    for decoded in Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES).run([utterances]):
        assert len(decoded.logprobs) == len(decoded.tokens)
        assert all(logprob <= 0 for logprob in decoded.logprobs)


def test_forced_lengths_are_exact(model, utterances):
    rng = torch.Generator().manual_seed(1)
    width = model.causal_lm.config.hidden_size
    wanted = {number: 1 + number * 3 % 11 for number in range(12)}
    encoded = [
        Encoded(number, torch.randn(4 + number, width, generator=rng), bound) for number, bound in wanted.items()
    ]
    llm = MergedDecoder(model.causal_lm, model.llm_family)
    found = list(GreedySearch(llm, (), rows=4, positions=4096).run(encoded))
    assert {one.key: len(one.tokens) for one in found} == wanted
    assert not any(one.ended for one in found)


def test_a_truncated_hypothesis_has_a_note(model, utterances):
    config = DecodeConfig(tokens_per_s=0.1, tokens_floor=1)
    for decoded in Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES).run([utterances]):
        bound = max_new_tokens(decoded.example.num_samples, config)
        assert len(decoded.tokens) <= bound
        cut_off = f"cut off at {bound} tokens, the limit for its audio"
        assert decoded.note == (cut_off if len(decoded.tokens) == bound else "")


def test_a_looping_hypothesis_is_decoded_again_or_cut_and_has_a_note(model, utterances):
    """Random weights mostly produce loops."""
    long = dataclasses.replace(GREEDY, tokens_per_s=7.0, tokens_floor=4)
    free, batches = {}, [utterances[:7], utterances[7:]]
    for decoded in Decoder(model, tiny.llm_tokenizer(), long, CHUNK_FRAMES).run(batches):
        free[decoded.example.utt_id] = decoded
    mended = list(
        Decoder(model, tiny.llm_tokenizer(), dataclasses.replace(long, retry_loops=True), CHUNK_FRAMES).run(batches)
    )
    looped = [one for one in mended if "loop" in one.note]
    assert looped and len(looped) < len(mended)
    for one in mended:
        before = free[one.example.utt_id]
        if one in looped:
            assert longest_loop(before.tokens).times >= LOOP_TIMES
            assert longest_loop(one.tokens).times < LOOP_TIMES
            assert one.retried
        else:
            assert one == before


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@torch.no_grad()
def test_merging_computes_the_same_and_is_undone_bit_by_bit(backbones, variant):
    model = tiny.sft_model(tiny.model_config(backbones), variant)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer = next(iter(model.adapters.layers.values()))
    x = torch.randn(7, layer.base.in_features)
    model.adapters.set_batch(["es"], [7])
    wanted = layer(x)
    with merged(model.adapters, "es") as is_merged:
        assert is_merged is (layer.unmergeable is None)
        if is_merged:
            assert not torch.equal(layer.base.weight, before_weight(before, model, layer))
            torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer(x), wanted)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def before_weight(before, model, layer):
    name = next(name for name, module in model.named_modules() if module is layer.base)
    return before[f"{name}.weight"]


def test_merging_an_unknown_language_changes_nothing(backbones):
    model = tiny.sft_model(tiny.model_config(backbones))
    with pytest.raises(ValueError, match="language 'xx' has no adapter"), merged(model.adapters, "xx"):
        pass
    assert not any(layer.merged for layer in model.adapters.layers.values())


def test_an_exception_while_prefetching_reaches_the_consumer():
    def broken():
        yield 1
        raise ValueError("a.wav: no such file")

    items = ahead(broken(), 1)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no such file"):
        next(items)


def test_a_consumer_that_does_not_wait_gets_none_until_an_item_is_ready():
    go = threading.Event()

    def slow():
        assert go.wait(60)
        yield 1

    waits = False
    items = ahead(slow(), 1, lambda: waits)
    assert [next(items), next(items)] == [None, None]
    waits = True
    go.set()
    assert list(items) == [1]


def test_a_consumer_that_stops_early_closes_the_source():
    closed = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    items = ahead(endless(), 2)
    next(items)
    items.close()
    assert closed == [True]


def test_an_exception_while_the_source_is_closed_reaches_the_consumer():
    class Source:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def close(self):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(ahead(Source(), 1))
