"""Write the plain LoRA of each language as a PEFT adapter for the alignment's encoder.

In: an adapted model, languages. Out: DIR/base, transformers' model of the encoder, such as a WhisperModel; DIR/<code>,
an adapter for it. Rank and alpha are those of the model, so that PEFT's lora_alpha / r equals our scaling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from zipperasr.exchange.merged_model import save_encoder
from zipperasr.exchange.plain_lora import encoder_state, plain_lora
from zipperasr.exchange.pretrained import Pretrained

BASE = "base"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names
PREFIX = "base_model.model."  # of PEFT's tensor names


def write_peft(
    opened: Pretrained, codes: Sequence[str], directory: Path, base_name: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write base and adapters. base_name: directory or hub id of the base model in the adapters' configurations.

    Raises ValueError if the variant has no plain LoRA, or if a language has a projector of its own.
    """
    shared = opened.model.projector
    if own := [code for code in codes if shared.of(code) is not shared]:
        raise ValueError(
            f"{', '.join(own)}: has a projector of its own, which a PEFT adapter cannot contain; use --format merged "
            "or bundle"
        )
    factors = {code: plain_lora(opened.model, code) for code in codes}  # may raise, so before anything is written
    directory.mkdir(parents=True)
    encoder, lora = opened.model.encoder, opened.experiment.model.encoder_lora
    whole = encoder.whole_model(opened.experiment.model.whisper, encoder_state(opened.model))
    save_encoder(encoder, whole, directory / BASE, dtype)
    inside = f"{PREFIX}{encoder.whole_model_prefix}"
    for code, layers in factors.items():
        (directory / code).mkdir()
        tensors = {}
        for name, (down, up) in layers.items():
            tensors[f"{inside}{name}.lora_A.weight"] = down.to(dtype).contiguous()
            tensors[f"{inside}{name}.lora_B.weight"] = up.to(dtype).contiguous()
        save_file(tensors, directory / code / WEIGHTS, metadata={"format": "pt"})
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=target_pattern(encoder.lora_targets, encoder.whole_model_prefix),
            lora_dropout=0.0,
            inference_mode=True,
            base_model_name_or_path=base_name,
        )
        config.save_pretrained(
            str(directory / code),
            auto_mapping_dict={
                "base_model_class": type(whole).__name__,
                "parent_library": type(whole).__module__,
            },
        )


def target_pattern(targets: Sequence[str], prefix: str) -> str:
    """Convert shell patterns of encoder layers to one regular expression, which PEFT matches with the model's names.

    prefix: of the encoder's layers in the model. A list of layer names would also match layers of a decoder.
    """
    patterns = (re.escape(target).replace(r"\*", ".*").replace(r"\?", ".") for target in targets)
    return f"{re.escape(prefix)}({'|'.join(patterns)})"
