"""A hypothesis depends only on its utterance, not on the batch, the padding, the cache or other utterances' lengths."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.beam import max_new_tokens, transcribe_batch
from zipperasr.decode.decode_config import DecodeConfig
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
