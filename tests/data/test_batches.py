"""Packs become rows: where prompt, speech and transcript stand, and in which order."""

from __future__ import annotations

import torch

from tests.model import tiny
from zipperasr.data.batches import IGNORED, Example, collate, collate_speech
from zipperasr.model.segments import mel_frames


def example(utt_id: str, language: str, num_samples: int, prompt: list[int], transcript: list[int]) -> Example:
    mel = tiny.random_mel(mel_frames(num_samples), seed=len(utt_id))
    return Example(utt_id, language, mel, num_samples, prompt, transcript)


A = example("a", "ja", 2 * 1280, [5, 6], [7, 8, 9])  # 2 speech positions
B = example("bb", "ja", 1280, [5], [4])
C = example("ccc", "de", 3 * 1280, [3, 3, 3], [2, 1])


def test_a_row_is_prompt_speech_transcript_of_one_utterance_after_the_other():
    rows = collate([[A, B]]).rows
    assert rows.input_ids.tolist() == [[5, 6, 0, 0, 7, 8, 9, 5, 0, 4]]
    assert rows.is_speech.int().tolist() == [[0, 0, 1, 1, 0, 0, 0, 0, 1, 0]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]]
    assert rows.utterance.tolist() == [[0] * 7 + [1] * 3]
    assert rows.labels.tolist() == [[IGNORED] * 4 + [7, 8, 9] + [IGNORED] * 2 + [4]]


def test_a_shorter_row_is_padded_and_the_padding_is_no_utterance():
    rows = collate([[B], [A]]).rows
    assert rows.utterance.tolist() == [[0, 0, 0, -1, -1, -1, -1], [0] * 7]
    assert rows.labels[0, 3:].tolist() == [IGNORED] * 4
    assert not rows.is_speech[0, 3:].any()


def test_packs_of_one_language_stand_side_by_side():
    batch = collate([[A], [C], [B]])
    assert batch.speech.languages == ("de", "ja", "ja")
    assert batch.utt_ids == ("ccc", "a", "bb")
    assert batch.rows.input_ids[0, :3].tolist() == [3, 3, 3]


def test_speech_lies_end_to_end_in_the_rows_order():
    batch = collate([[A, B], [C]])
    assert batch.speech.lengths == (24, 16, 8)
    assert torch.equal(batch.speech.mel, torch.cat([C.mel, A.mel, B.mel]))
    assert batch.num_samples == 6 * 1280
    assert batch.rows.is_speech.sum() == 6


def test_positions_count_what_the_row_takes():
    assert (A.positions, B.positions, C.positions) == (7, 3, 8)
    assert collate([[A, C]]).rows.input_ids.shape == (1, 15)


def test_an_utterance_to_decode_has_no_transcript():
    decoding = example("d", "de", 1280, [3], [])
    assert collate([[decoding]]).rows.labels.tolist() == [[IGNORED, IGNORED]]
    assert collate_speech([decoding, C]).lengths == (8, 24)


def test_a_batch_moves_whole():
    batch = collate([[A]]).to("meta")
    tensors = [batch.speech.mel, *vars(batch.rows).values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
