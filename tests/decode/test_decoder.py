"""Our greedy search finds what transformers' does, in whatever order, company and folding."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import Example
from zipperasr.decode.beam import max_new_tokens, transcribe_batch
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.greedy import Encoded, GreedySearch
from zipperasr.decode.lookahead import ahead
from zipperasr.lora import VARIANTS
from zipperasr.lora.merging import merged
from zipperasr.model.backbones.merged_qwen3 import MergedQwen3
from zipperasr.output_faults import LOOP_TIMES, longest_loop

CHUNK_FRAMES = 40  # 0.4 s
GREEDY = DecodeConfig(tokens_per_s=20.0, tokens_floor=8)


@pytest.fixture(scope="module", params=["zipper_soft", "flylora"])
def model(backbones, request):
    return tiny.sft_model(tiny.model_config(backbones), request.param)


def texts(model, batches: list[list[Example]], config: DecodeConfig = GREEDY) -> dict[str, str]:
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    return {decoded.example.utt_id: decoded.text for decoded in decoder.run(batches)}


def test_it_finds_what_transformers_finds(model, utterances):
    wanted = transcribe_batch(model, tiny.llm_tokenizer(), utterances, CHUNK_FRAMES, GREEDY)
    assert len(set(wanted)) > 8  # texts that could differ
    by_language = [[u for u in utterances if u.language == code] for code in tiny.CODES]
    for batches in ([utterances], by_language, [[utterance] for utterance in utterances]):
        assert texts(model, batches) == {u.utt_id: text for u, text in zip(utterances, wanted, strict=True)}


@pytest.mark.parametrize(("rows", "positions"), [(1, 4096), (3, 4096), (16, 4096), (16, 150), (16, 1)])
def test_rows_that_come_and_go_change_no_text(model, utterances, rows, positions):
    config = dataclasses.replace(GREEDY, batch_size=rows, batch_positions=positions)
    wanted = texts(model, [[utterance] for utterance in utterances])
    order = random.Random(rows).sample(utterances, len(utterances))
    assert texts(model, [order[:5], order[5:]], config) == wanted


def test_only_a_loop_is_cut_out_of_text_that_compresses_well(model):
    """Eleven words three times over: text that zlib makes small, but no n-gram four times in a row."""
    decoder = Decoder(model, tiny.llm_tokenizer(), dataclasses.replace(GREEDY, retry_loops=True), CHUNK_FRAMES)
    tokens = tiny.llm_tokenizer()("der kleine hund und die alte katze sehen den roten ball. " * 3)["input_ids"]
    found = Encoded("u", torch.zeros(1, 1), 500, list(tokens), ended=True, no_repeat=4)
    assert decoder._runs_in_circles(found)
    assert decoder._without_loop(found) == (list(tokens), "a loop, decoded again without repetition")
    found.tokens += tiny.llm_tokenizer()("ja ja ja ja ")["input_ids"]
    kept, note = decoder._without_loop(found)
    assert note == "a loop, cut after its first repetition" and len(tokens) < len(kept) < len(found.tokens)


def test_forced_lengths_are_kept_to_the_token(model, utterances):
    rng = torch.Generator().manual_seed(1)
    width = model.causal_lm.config.hidden_size
    wanted = {number: 1 + number * 3 % 11 for number in range(12)}
    encoded = [
        Encoded(number, torch.randn(4 + number, width, generator=rng), bound) for number, bound in wanted.items()
    ]
    found = list(GreedySearch(MergedQwen3(model.causal_lm), (), rows=4, positions=4096).run(encoded))
    assert {one.key: len(one.tokens) for one in found} == wanted
    assert not any(one.ended for one in found)


def test_a_text_that_is_cut_off_says_so(model, utterances):
    config = DecodeConfig(tokens_per_s=0.1, tokens_floor=1)
    for decoded in Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES).run([utterances]):
        bound = max_new_tokens(decoded.example.num_samples, config)
        assert len(decoded.tokens) <= bound
        cut_off = f"cut off at {bound} tokens, the limit for its audio"
        assert decoded.note == (cut_off if len(decoded.tokens) == bound else "")


def test_what_runs_in_circles_is_decoded_again_or_cut_and_says_so(model, utterances):
    """Random weights run in circles more often than not."""
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
def test_folding_computes_the_same_and_gives_every_bit_back(backbones, variant):
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


def test_folding_an_unknown_language_touches_nothing(backbones):
    model = tiny.sft_model(tiny.model_config(backbones))
    with pytest.raises(ValueError, match="language 'xx' has no adapter"), merged(model.adapters, "xx"):
        pass
    assert not any(layer.merged for layer in model.adapters.layers.values())


def test_what_is_raised_ahead_is_raised_to_the_reader():
    def broken():
        yield 1
        raise ValueError("a.wav: no such file")

    items = ahead(broken(), 1)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no such file"):
        next(items)


def test_a_reader_who_stops_early_closes_what_is_read():
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
