"""A tiny encoder with random weights of every family and published shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel, WhisperConfig, WhisperForConditionalGeneration

from tests.model import tiny


def _whisper(mel_bins: int, encoder_layers: int, decoder_layers: int, languages: bool = True) -> Callable[[Path], int]:
    """Return a function that writes such a Whisper and returns its mel bins."""

    def write(directory: Path) -> int:
        tokenizer = tiny.whisper_tokenizer() if languages else tiny.byte_tokenizer(["<|startoftranscript|>", "<|end|>"])
        whisper = WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=len(tokenizer), num_mel_bins=mel_bins, d_model=16, encoder_layers=encoder_layers,
                decoder_layers=decoder_layers, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
                decoder_ffn_dim=24, decoder_start_token_id=256, init_std=0.2, pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )  # fmt: skip
        tiny.shake_vectors(whisper)
        whisper.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return mel_bins

    return write


def _w2v_bert(directory: Path) -> int:
    encoder = Wav2Vec2BertModel(
        Wav2Vec2BertConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, initializer_range=0.3,
            feature_projection_input_dim=2 * tiny.MEL_BINS, conv_depthwise_kernel_size=5,
            left_max_position_embeddings=6, right_max_position_embeddings=3, mask_time_prob=0.05,
        )
    )  # fmt: skip
    tiny.shake_vectors(encoder)
    encoder.save_pretrained(directory)
    return tiny.MEL_BINS


SHAPES: dict[str, Callable[[Path], int]] = {
    "whisper": _whisper(tiny.MEL_BINS, 3, 3),  # tiny to large-v2 have 80 mel bins, large-v3 has 128
    "whisper-turbo": _whisper(tiny.MEL_BINS, 4, 1),  # large-v3-turbo has 32 encoder layers and 4 decoder layers
    "distil-whisper": _whisper(tiny.MEL_BINS, 4, 2),
    "whisper.en": _whisper(tiny.MEL_BINS, 3, 3, languages=False),  # without language tokens
    "w2v-bert-2.0": _w2v_bert,
}
FAMILY = dict.fromkeys(SHAPES, "whisper") | {"w2v-bert-2.0": "wav2vec2-bert"}


def write_encoder(shape: str, directory: Path) -> int:
    """Write the encoder to `directory`; returns its number of mel bins."""
    torch.manual_seed(4)
    return SHAPES[shape](directory)
