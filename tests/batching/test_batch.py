"""Collating packs: position and order of prompt, speech and transcript."""

from __future__ import annotations

import torch

from tests.model import tiny
from zipperasr.audio.segments import mel_frames
from zipperasr.batching.batch import Example, collate, collate_speech


def example(utt_id: str, language: str, num_samples: int, prompt: list[int], transcript: list[int]) -> Example:
    mel = tiny.random_mel(mel_frames(num_samples), seed=len(utt_id))
    return Example(utt_id, language, mel, num_samples, prompt, transcript)


A = example("a", "ja", 2 * 1280, [5, 6], [7, 8, 9])  # 2 speech positions
B = example("bb", "ja", 1280, [5], [4])
C = example("ccc", "de", 3 * 1280, [3, 3, 3], [2, 1])


def test_an_utterance_is_prompt_speech_transcript_followed_by_the_next():
    text = collate([[A, B]]).text
    assert text.input_ids.tolist() == [5, 6, 0, 0, 7, 8, 9, 5, 0, 4]
    assert text.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert text.speech_places.tolist() == [2, 3, 8]
    assert text.label_places.tolist() == [4, 5, 6, 9]
    assert text.lengths == (7, 3)


def test_packs_of_unequal_length_are_not_padded():
    batch = collate([[B], [A]])
    assert len(batch.text.input_ids) == batch.num_positions == A.positions + B.positions
    assert batch.num_packs == 2


def test_packs_of_one_language_are_adjacent():
    batch = collate([[A], [C], [B]])
    assert batch.speech.languages == ("de", "ja", "ja")
    assert batch.utt_ids == ("ccc", "a", "bb")
    assert batch.text.input_ids[:3].tolist() == [3, 3, 3]


def test_speech_is_concatenated_in_the_order_of_the_text():
    batch = collate([[A, B], [C]])
    assert batch.speech.lengths == (24, 16, 8)
    assert torch.equal(batch.speech.mel, torch.cat([C.mel, A.mel, B.mel]))
    assert batch.num_samples == 6 * 1280
    assert len(batch.text.speech_places) == 6


def test_positions_count_all_tokens_and_frames_of_the_utterance():
    assert (A.positions, B.positions, C.positions) == (7, 3, 8)
    assert collate([[A, C]]).text.lengths == (7, 8)


def test_an_utterance_to_decode_has_no_transcript():
    decoding = example("d", "de", 1280, [3], [])
    assert collate([[decoding]]).text.label_places.tolist() == []
    assert collate_speech([decoding, C]).lengths == (8, 24)


def test_moving_a_batch_moves_all_its_tensors():
    batch = collate([[A]]).to("meta")
    tensors = [batch.speech.mel, *(x for x in vars(batch.text).values() if isinstance(x, torch.Tensor))]
    assert len(tensors) == 5
    assert {tensor.device.type for tensor in tensors} == {"meta"}
