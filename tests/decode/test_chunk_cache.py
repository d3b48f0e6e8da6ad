"""One call of the encoder serves utterances with and without cached chunks, and gives what it gives for each alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.chunk_cache import TOLERANCE, ChunkCache, embed_speech
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.hooks import Hooks

CHUNK_FRAMES = 40  # 0.4 s
GREEDY = DecodeConfig(tokens_per_s=20.0, tokens_floor=8)


@pytest.fixture(scope="module")
def model(backbones):
    return tiny.sft_model(tiny.model_config(backbones), "zipper_soft")


def beginning(example: Example, chunks: int) -> Example:
    frames = chunks * CHUNK_FRAMES
    return replace(example, mel=example.mel[:frames], num_samples=frames * 160)


def long_ones(utterances: list[Example], language: str | None = None) -> list[Example]:
    found = [one for one in utterances if len(one.mel) > 2 * CHUNK_FRAMES and language in (None, one.language)]
    assert len(found) >= 3
    return found[:3]


def test_a_mixed_batch_equals_whole_utterances_and_encodes_what_is_new_in_one_call(model, utterances, monkeypatch):
    batch = long_ones(utterances)
    caches = [ChunkCache(), None, ChunkCache()]
    calls = []
    forward = type(model.encoder).forward
    monkeypatch.setattr(
        type(model.encoder), "forward", lambda self, mel, *rest: calls.append(len(mel)) or forward(self, mel, *rest)
    )
    with torch.inference_mode():
        for chunks in (1, 2):
            growing = [beginning(batch[0], chunks), batch[1], beginning(batch[2], chunks)]
            speech = collate_speech(growing)
            calls.clear()
            found, counts = embed_speech(model, speech, CHUNK_FRAMES, caches)
            assert calls == [2 * CHUNK_FRAMES + len(batch[1].mel)], "one new chunk of each growing utterance"
            expected, expected_counts = model.embed_speech(speech, CHUNK_FRAMES)
            assert counts == expected_counts
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert [cache.num_encoded for cache in (caches[0], caches[2])] == [2, 2]
    assert caches[0].num_repeated == 0


def test_a_batch_that_is_cached_completely_needs_no_encoder(model, utterances, monkeypatch):
    speech, cache = collate_speech(long_ones(utterances)[:1]), ChunkCache()
    with torch.inference_mode():
        first, _ = embed_speech(model, speech, CHUNK_FRAMES, [cache])
        monkeypatch.setattr(type(model.encoder), "forward", None)
        again, _ = embed_speech(model, speech, CHUNK_FRAMES, [cache])
    assert torch.equal(first, again)


def test_small_changes_do_not_add_up():
    cache, features = ChunkCache(), [torch.zeros(4, 2), torch.ones(4, 2)]
    for step in range(20):
        features[1] = features[1] + 0.4 * TOLERANCE
        missing = cache.missing(features)
        held = cache.updated(features, {number: features[number] for number in missing})  # the encoder's outputs
        assert missing == ([0, 1] if step == 0 else [1] if step % 3 == 0 else [])
        assert all((one - other).abs().max() <= TOLERANCE for one, other in zip(held, features, strict=True))


def test_the_decoder_gives_growing_utterances_in_a_batch_the_texts_of_whole_ones(model, utterances):
    batch = long_ones(utterances)
    decoder = Decoder(model, tiny.llm_tokenizer(), GREEDY, CHUNK_FRAMES)
    wanted = {one.example.utt_id: one.tokens for one in decoder.run([[one] for one in batch])}
    caches = {batch[0].utt_id: ChunkCache(), batch[2].utt_id: ChunkCache()}
    hooks = Hooks(cache=lambda example: caches.get(example.utt_id))
    list(decoder.run([[beginning(batch[0], 1), batch[1], beginning(batch[2], 2)]], hooks))
    assert {one.example.utt_id: one.tokens for one in decoder.run([batch], hooks)} == wanted


def test_utterances_with_and_without_edge_frames_are_encoded_apart(model, utterances):
    decoder = Decoder(model, tiny.llm_tokenizer(), GREEDY, CHUNK_FRAMES)
    one, two, three = long_ones(utterances)
    parts = list(decoder._parts([one, replace(two, edge_frames=3), replace(three, edge_frames=3)]))
    assert [[example.utt_id for example in part] for part in parts] == [[one.utt_id], [two.utt_id, three.utt_id]]
