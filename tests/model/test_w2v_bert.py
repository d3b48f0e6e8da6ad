"""w2v-BERT's encoder equals transformers' forward, and loads pretrained and fine-tuned checkpoints."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertForCTC, Wav2Vec2BertModel

from tests.model import tiny, tiny_encoders
from zipperasr.model.backbones import find_encoder
from zipperasr.model.backbones.w2v_bert import W2vBertSpeechEncoder
from zipperasr.model.build import build_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("w2v_bert")
    tiny_encoders.write_encoder("w2v-bert-2.0", path)
    return path


@torch.no_grad()
def test_outputs_equal_those_of_transformers_for_each_segment(directory):
    """Segments longer and shorter than the relative positions and the convolution; zeros fill an odd end."""
    encoder = W2vBertSpeechEncoder.load(str(directory), torch.float32).eval()
    theirs = Wav2Vec2BertModel.from_pretrained(directory).eval()
    lengths = [40, 24, 41, 2, 7, 40]
    mels = [tiny.random_mel(length, seed) for seed, length in enumerate(lengths)]
    found, frames = encoder(torch.cat(mels), lengths)
    assert frames == [20, 12, 21, 1, 4, 20]
    for hidden, mel in zip(found.split(frames), mels, strict=True):
        even = torch.cat([mel, mel.new_zeros(len(mel) % 2, tiny.MEL_BINS)])
        wanted = theirs(even.reshape(1, -1, 2 * tiny.MEL_BINS)).last_hidden_state[0]
        torch.testing.assert_close(hidden, wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_kept_frames_are_the_first_of_each_segment(directory):
    encoder = W2vBertSpeechEncoder.load(str(directory), torch.float32).eval()
    mel = tiny.random_mel(70)
    whole, frames = encoder(mel, [40, 30])
    kept, counts = encoder(mel, [40, 30], [10, 30])
    assert frames == [20, 15] and counts == [5, 15]
    assert torch.equal(kept, torch.cat([whole[:5], whole[20:]]))


@pytest.mark.parametrize("lengths", [[0, 10], [3001]])
def test_empty_or_too_long_segments_are_an_error(directory, lengths):
    encoder = W2vBertSpeechEncoder.load(str(directory), torch.float32)
    with pytest.raises(ValueError, match="mel frames, wanted 1 to 3000"):
        encoder(torch.zeros(sum(lengths), tiny.MEL_BINS), lengths)


@torch.no_grad()
def test_a_fine_tuned_checkpoint_is_loaded_without_its_adapter_and_head(tmp_path):
    settings = json.loads(Wav2Vec2BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=9,
        feature_projection_input_dim=2 * tiny.MEL_BINS, add_adapter=True,
    ).to_json_string())  # fmt: skip
    tuned = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**settings))
    tuned.save_pretrained(tmp_path)
    found, _ = find_encoder(str(tmp_path))
    ours = found.load(str(tmp_path), torch.float32).w2v_bert.state_dict()
    theirs = tuned.wav2vec2_bert.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert {name.split(".")[0] for name in theirs.keys() - ours.keys()} <= {"adapter", "masked_spec_embed"}


def test_other_relative_positions_are_an_error(directory, tmp_path):
    config = json.loads((directory / "config.json").read_text()) | {"position_embeddings_type": "rotary"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="position_embeddings_type: got 'rotary', wanted 'relative_key'"):
        W2vBertSpeechEncoder.empty(str(tmp_path))


def test_padding_to_30_s_is_for_whisper_only(directory, backbones):
    with pytest.raises(ValueError, match="pad_to_30s is for Whisper's features; set pad_to_30s: false"):
        build_model(tiny.model_config(backbones, whisper=str(directory), pad_to_30s=True))
