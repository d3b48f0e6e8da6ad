"""A hypothesis depends only on its utterance, not on the batch, the padding, the cache or other utterances' lengths.

N-best lists and scores are those of another search.
"""

from __future__ import annotations

import copy
import dataclasses
import random

import pytest
import torch

from tests.decode.by_transformers import transcribe_batch
from tests.model import tiny
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.alternatives import Alternative, distinct
from zipperasr.decode.beam import after_prompts, max_new_tokens, stop_ids
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.hooks import Hooks
from zipperasr.model.prompt import end_id, hypothesis_text
from zipperasr.model.speech_llm import SpeechLLM

CHUNK_FRAMES = 40  # 0.4 s
GREEDY = DecodeConfig(tokens_per_s=20.0, tokens_floor=8)


@pytest.fixture(scope="module")
def model(backbones) -> SpeechLLM:
    return tiny.sft_model(tiny.model_config(backbones))


def decode(model: SpeechLLM, batch: list[Example], config: DecodeConfig = GREEDY) -> dict[str, str]:
    texts = transcribe_batch(model, tiny.llm_tokenizer(), batch, CHUNK_FRAMES, config)
    return {utterance.utt_id: text for utterance, text in zip(batch, texts, strict=True)}


@pytest.mark.parametrize("beam", [1, 3])
def test_batch_sizes_1_and_16_give_the_same_hypotheses(model, utterances, beam):
    config = dataclasses.replace(GREEDY, beam=beam)
    alone = {id_: text for utterance in utterances for id_, text in decode(model, [utterance], config).items()}
    assert len(set(alone.values())) > 8  # otherwise the comparison would prove little
    for seed in (1, 2):
        order = random.Random(seed).sample(utterances, len(utterances))
        assert decode(model, order, config) == alone


def test_greedy_search_equals_the_argmax_without_a_cache(model, utterances):
    tokenizer = tiny.llm_tokenizer()
    stops = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    for utterance in utterances[:4]:
        speech, _ = model.embed_speech(collate_speech([utterance]), CHUNK_FRAMES)
        embed, found = model.causal_lm.get_input_embeddings(), []
        while len(found) < max_new_tokens(utterance.num_samples, GREEDY):
            tail = embed(torch.tensor(found, dtype=torch.long))
            inputs = torch.cat([embed(torch.tensor(utterance.prompt)), speech, tail])[None]
            with torch.no_grad():
                token = int(model.llm(inputs_embeds=inputs, use_cache=False).logits[0, -1].argmax())
            if token in stops:
                break
            found.append(token)
        wanted = tokenizer.decode(found, skip_special_tokens=True).strip()
        assert decode(model, [utterance])[utterance.utt_id] == wanted


def test_the_length_limit_depends_on_the_utterances_own_audio(model, utterances):
    short, long = sorted(utterances, key=lambda utterance: utterance.num_samples)[:: len(utterances) - 1]
    config = DecodeConfig(tokens_per_s=4.0, tokens_floor=1)
    texts = decode(model, [short, long], config)
    for utterance in (short, long):
        assert 1 <= len(texts[utterance.utt_id]) <= max_new_tokens(utterance.num_samples, config)  # a token is a byte


NBEST = dataclasses.replace(GREEDY, beam=4, nbest=4)


@pytest.fixture(scope="module")
def ending(backbones) -> SpeechLLM:
    """A model whose texts often end before their length limit."""
    model = tiny.sft_model(tiny.model_config(backbones))
    with torch.no_grad():
        model.causal_lm.get_input_embeddings().weight[end_id(tiny.llm_tokenizer())] *= 2.5
    return model


def logprobs(model: SpeechLLM, row: torch.Tensor, tokens: tuple[int, ...]) -> torch.Tensor:
    """Of the next token, (vocabulary,), without a cache; the model is in float64."""
    tail = model.causal_lm.get_input_embeddings()(torch.tensor(tokens, dtype=torch.long))
    with torch.no_grad():
        logits = model.llm(inputs_embeds=torch.cat([row, tail])[None], use_cache=False).logits[0, -1]
    return logits.log_softmax(-1)


def reference(
    model, row, bound: int, beam: int, penalty: float, stops: set[int], end: int
) -> list[tuple[float, tuple]]:
    """Beam search written from its definition: the best `beam` finished (score, tokens), in float64.

    A step extends each text by every token; among the best `beam` extensions, those that end are finished, and the best
    `beam` of the others are extended further. The search stops if the best of them has a worse score than all finished.
    """
    running, finished = [(0.0, ())], []
    for length in range(1, bound + 2):
        extended = []
        for total, tokens in running:
            values = logprobs(model, row, tokens).tolist() if length <= bound else {end: 0.0}
            pairs = enumerate(values) if length <= bound else values.items()
            extended += [(total + value, (*tokens, token)) for token, value in pairs]
        extended.sort(reverse=True)
        finished += [(total / length**penalty, tokens) for total, tokens in extended[:beam] if tokens[-1] in stops]
        finished = sorted(finished, reverse=True)[:beam]
        running = [one for one in extended if one[1][-1] not in stops][:beam]
        if len(finished) == beam and (not running or running[0][0] / length**penalty <= finished[-1][0]):
            break
    return finished


@pytest.mark.parametrize("penalty", [1.0, 0.0, 0.4])
def test_alternatives_and_scores_are_those_of_a_search_in_float64(ending, utterances, penalty):
    tokenizer = tiny.llm_tokenizer()
    config = dataclasses.replace(NBEST, length_penalty=penalty, tokens_per_s=3.0, tokens_floor=3)
    some = sorted(utterances[:6], key=lambda utterance: utterance.language)
    found = list(Decoder(ending, tokenizer, config, CHUNK_FRAMES).run([some]))
    exact = copy.deepcopy(ending).double()
    num_early = 0
    for decoded in found:
        speech, counts = ending.embed_speech(collate_speech([decoded.example]), CHUNK_FRAMES)
        (row,) = after_prompts(ending, [decoded.example], speech.split(counts))
        bound = max_new_tokens(decoded.example.num_samples, config)
        ends = (set(stop_ids(ending, tokenizer)), end_id(tokenizer))
        wanted: dict[str, float] = {}
        for score, tokens in reference(exact, row.double(), bound, config.beam, penalty, *ends):
            wanted.setdefault(hypothesis_text(tokenizer, tokens), score)
            num_early += len(tokens) <= bound
        assert [one.text for one in decoded.alternatives] == list(wanted)
        assert [one.score for one in decoded.alternatives] == pytest.approx(list(wanted.values()), abs=1e-5)
        assert decoded.text == decoded.alternatives[0].text
    assert num_early > 5, "texts of different lengths are compared"


def test_the_text_does_not_depend_on_the_length_of_the_list(ending, utterances):
    tokenizer = tiny.llm_tokenizer()
    runs = [
        list(Decoder(ending, tokenizer, dataclasses.replace(NBEST, nbest=nbest), CHUNK_FRAMES).run([utterances]))
        for nbest in (1, 2, 4)
    ]
    for one, two, four in zip(*runs, strict=True):
        assert one.text == two.text == four.text and one.alternatives == ()
        assert two.alternatives == four.alternatives[:2]
    lists = [decoded.alternatives for decoded in runs[-1]]
    assert all(1 <= len({text for text, _ in found}) == len(found) <= 4 for found in lists)
    assert all(found == tuple(sorted(found, key=lambda one: -one.score)) for found in lists)
    assert max(map(len, lists)) == 4


def test_what_is_not_a_number_gives_no_alternatives_and_changes_no_other_utterance(ending, utterances):
    bad = dataclasses.replace(utterances[1], mel=torch.full_like(utterances[1].mel, torch.nan))
    decoder = Decoder(ending, tiny.llm_tokenizer(), NBEST, CHUNK_FRAMES)
    first, broken, last = decoder.run([[utterances[0], bad, utterances[2]]])
    assert (broken.text, broken.alternatives) == ("", ())
    alone = [next(decoder.run([[one]])) for one in (utterances[0], utterances[2])]
    assert [one.text for one in (first, last)] == [one.text for one in alone]


def test_alternatives_with_the_same_text_are_merged():
    found = [Alternative("a", -0.1), Alternative("b", -0.2), Alternative("a", -0.3), Alternative("c", -0.4)]
    assert distinct(found) == (found[0], found[1], found[3])
    assert distinct(found, 2) == (found[0], found[1])


def test_log_probabilities_of_earlier_steps_are_not_kept(ending, utterances, monkeypatch):
    kept = []
    generate = ending.llm.generate

    def watched(**settings):
        output = generate(**settings)
        kept.append([step.numel() for step in output.scores])
        return output

    monkeypatch.setattr(ending.llm, "generate", watched)
    list(Decoder(ending, tiny.llm_tokenizer(), NBEST, CHUNK_FRAMES).run([utterances[:2]]))
    assert kept and all(len(steps) > 5 and not any(steps) for steps in kept)


def test_beam_search_merges_adapters_and_keeps_frames_for_word_times(model, utterances):
    config = dataclasses.replace(GREEDY, beam=3)
    batch = sorted(utterances, key=lambda utterance: utterance.language)
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    decoder.keeps_frames = True
    by_language = [[one for one in batch if one.language == code] for code in tiny.CODES]
    found = list(decoder.run(by_language))
    assert {one.example.utt_id: one.text for one in found} == decode(model, batch, config)
    assert all(one.frames.shape[1] == tiny.D_ENCODER and len(one.frames) for one in found)


def test_live_batches_are_decoded_as_they_arrive_without_dropped_examples(model, utterances):
    config = dataclasses.replace(GREEDY, beam=2, nbest=2)
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    spanish = [one for one in utterances if one.language == "es"][:3]
    log: list[str] = []

    def batches():
        for batch in (spanish[:2], None, spanish[2:], None):
            log.append("none" if batch is None else " ".join(one.utt_id for one in batch))
            yield batch

    hooks = Hooks(check=lambda: log.append("check"), is_dropped=lambda example: example is spanish[1])
    found = [(one, log.append(f"done {one.example.utt_id}"))[0] for one in decoder.run_live(batches(), hooks)]
    ids = [one.utt_id for one in spanish]
    first = [f"{ids[0]} {ids[1]}", "check", f"done {ids[0]}", "none", "check"]
    assert log == [*first, ids[2], "check", f"done {ids[2]}", "none", "check"]
    alone = [next(decoder.run([[one]])) for one in (spanish[0], spanish[2])]
    assert [one.text for one in found] == [one.text for one in alone]
    assert all(len(one.alternatives) == 2 for one in found)
