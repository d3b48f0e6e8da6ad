"""Write an encoder in transformers' WhisperModel format, with the decoder of its backbone.

In: an encoder's tensors, the backbone. Out: a directory that WhisperModel.from_pretrained loads. The decoder was not
trained with this encoder; the format requires one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperModel

from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones.whisper import WHISPER_SIZES


def whisper_with(encoder: Mapping[str, Tensor], whisper: str) -> WhisperModel:
    """Load the backbone and replace its encoder; every tensor must fit."""
    model = load_backbone(WhisperModel, whisper, torch.float32, WHISPER_SIZES)
    model.encoder.load_state_dict(encoder, strict=True)
    return model.eval()


def save_whisper(model: WhisperModel, directory: Path, dtype: torch.dtype) -> None:
    """Save weights, configuration and the feature extractor."""
    model.to(dtype).save_pretrained(directory)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(directory)
