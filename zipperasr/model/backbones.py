"""Pretrained Whisper and Qwen3 weights: strictly checked, in one precision, and only the parts that are used.

In: a local directory or hub id. Out: a transformers model. transformers finds the files (safetensors, shards, .bin) and
maps them into memory; weights of parts that the classes below leave out are never read.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel
from transformers.utils import logging

from zipperasr.model.backbone_files import check_backbone, said_by_transformers
from zipperasr.model.checkpoint import few
from zipperasr.model.tensor_values import check_finite
from zipperasr.model.weights_file import open_weights


class WhisperEncoderOnly(WhisperPreTrainedModel):
    """The encoder of a Whisper checkpoint: 637 of large-v3's 1,543 million parameters."""

    _keys_to_ignore_on_load_unexpected = (r"^(model\.)?decoder\.", r"^proj_out\.")

    def __init__(self, config: WhisperConfig):
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()


class WhisperTokenEmbedding(WhisperPreTrainedModel):
    """The token embedding of a Whisper checkpoint's decoder, `decoder.embed_tokens`, and nothing else."""

    _keys_to_ignore_on_load_unexpected = (
        r"^(model\.)?encoder\.",
        r"^(model\.)?decoder\.(layers|layer_norm|embed_positions)\.",
        r"^proj_out\.",
    )

    def __init__(self, config: WhisperConfig):
        super().__init__(config)
        self.decoder = nn.Module()
        self.decoder.embed_tokens = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.post_init()


def load_backbone(model_class, path: str, dtype: torch.dtype):
    """A transformers model, strictly. Raises FileNotFoundError or ValueError, naming what does not fit."""
    check_backbone(path, model_class.config_class.model_type)
    logging.disable_progress_bar()  # a bar per model, gone in a tenth of a second
    safely = {"trust_remote_code": False, "weights_only": True}
    with said_by_transformers(path):
        try:
            model, report = model_class.from_pretrained(
                path, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **safely
            )  # mismatched tensors are reported below, all at once
        except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
            _name_damage(path, error)
    heads = {"lm_head.weight", "proj_out.weight"}  # tied to the embedding: files may have them or not
    wrong = {
        "missing": set(report["missing_keys"]) - heads,
        "unexpected": set(report["unexpected_keys"]) - heads,
        "misshapen": {str(key[0]) for key in report["mismatched_keys"]},
    }
    if any(wrong.values()):
        facts = "; ".join(f"{what} {few(sorted(names))}" for what, names in wrong.items())
        raise ValueError(f"{path}: weights do not fit {model_class.__name__}: {facts}")
    for name, parameter in model.named_parameters():  # a tied one once
        check_finite(parameter.detach(), f"{path}: {name}")
    return model


def _name_damage(path: str, error: Exception) -> NoReturn:
    """Raises ValueError naming the damaged file, which transformers' error does not."""
    for file in sorted(Path(path).glob("*.safetensors")):
        with open_weights(file):
            pass
    what = "damaged safetensors" if isinstance(error, SafetensorError) else "pickled files that hold more than tensors"
    raise ValueError(f"{path}: {what}; fetch the model again as safetensors") from error
