"""Write an encoder in the format of transformers' WhisperModel, with the decoder of its backbone.

In: the encoder's tensors, the backbone. Out: a directory for WhisperModel.from_pretrained. The format requires a
decoder, which was not trained with this encoder.
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
    """Load the backbone and replace its encoder strictly."""
    model = load_backbone(WhisperModel, whisper, torch.float32, WHISPER_SIZES)
    model.encoder.load_state_dict(encoder, strict=True)
    return model.eval()


def save_whisper(model: WhisperModel, directory: Path, dtype: torch.dtype) -> None:
    """Save weights, configuration and the feature extractor."""
    model.to(dtype).save_pretrained(directory)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(directory)
