"""The embeddings recorded while decoding are the means of each utterance's encoder frames."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from tests.audio.test_ark import Touch
from tests.decode.by_transformers import transcribe_batch
from tests.model import tiny
from zipperasr.batching.batch import collate_speech
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.encoder_means import PER_SET, chosen, encoder_means, read_means, write_means


def test_the_mean_of_an_utterance_does_not_depend_on_the_batch(backbones):
    model = tiny.sft_model(tiny.model_config(backbones))
    batch = [tiny.example(f"u{n}", tiny.CODES[n], length, "", seed=n) for n, length in enumerate((4000, 9000, 16_000))]
    with encoder_means(model) as means:
        transcribe_batch(model, tiny.llm_tokenizer(), batch, None, DecodeConfig(tokens_per_s=4.0, tokens_floor=1))
    assert len(means) == 3
    for example, mean in zip(batch, means, strict=True):
        speech = collate_speech([example])
        model.adapters.set_batch(speech.languages, [-(-speech.lengths[0] // 2)])
        with torch.inference_mode():
            hidden, _ = model.encoder(speech.mel, speech.lengths)
        np.testing.assert_allclose(mean, hidden.mean(0), atol=1e-5)
    transcribe_batch(model, tiny.llm_tokenizer(), batch, None, DecodeConfig(tokens_per_s=4.0, tokens_floor=1))
    assert len(means) == 3  # nothing is recorded outside the `with` block


@pytest.mark.parametrize("num_utts", [1, PER_SET, PER_SET + 1, 5 * PER_SET + 3])
def test_selected_utterances_are_spread_over_the_set(num_utts):
    ids = [f"u{n:04d}" for n in range(num_utts)]
    found = chosen(ids)
    assert min(num_utts, PER_SET // 2) <= len(found) <= PER_SET
    assert ids[0] in found and found <= set(ids)


def test_means_are_unchanged_after_writing_and_reading(tmp_path):
    means = {"b": np.arange(3, dtype=np.float32), "a": np.ones(3, dtype=np.float32)}
    write_means(tmp_path / "x.ark", means)
    found = read_means(tmp_path / "x.ark")
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], means["b"])
    assert read_means(tmp_path / "absent.ark") == {}


def test_reading_foreign_means_executes_nothing(tmp_path):
    path = tmp_path / "encoder_means.ark"
    path.write_bytes(b"u1 PKL" + pickle.dumps(Touch(tmp_path / "run")))
    with pytest.raises(ValueError, match=r"encoder_means\.ark: 'u1': got b'PKL.*', wanted a binary float vector"):
        read_means(path)
    assert not (tmp_path / "run").exists()
