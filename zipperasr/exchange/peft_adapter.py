"""Write the plain LoRA of each language as a PEFT adapter for the alignment's encoder.

In: an adapted model, languages. Out: DIR/base, a WhisperModel; DIR/<code>, an adapter for it. Rank and alpha are those
of the model, so that PEFT's lora_alpha / r equals our scaling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import WhisperModel

from zipperasr.exchange.plain_lora import encoder_state, plain_lora
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.exchange.whisper_form import save_whisper, whisper_with

BASE = "base"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names
PREFIX = "base_model.model."  # of PEFT's tensor names


def write_peft(
    opened: Pretrained, codes: Sequence[str], directory: Path, base_name: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write base and adapters. base_name: directory or hub id of the base model in the adapters' configurations."""
    factors = {code: plain_lora(opened.model, code) for code in codes}  # may raise, so before anything is written
    directory.mkdir(parents=True)
    whisper = whisper_with(encoder_state(opened.model), opened.experiment.model.whisper)
    save_whisper(whisper, directory / BASE, dtype)
    lora = opened.experiment.model.encoder_lora
    for code, layers in factors.items():
        (directory / code).mkdir()
        tensors = {}
        for name, (down, up) in layers.items():
            tensors[f"{PREFIX}encoder.{name}.lora_A.weight"] = down.to(dtype).contiguous()
            tensors[f"{PREFIX}encoder.{name}.lora_B.weight"] = up.to(dtype).contiguous()
        save_file(tensors, directory / code / WEIGHTS, metadata={"format": "pt"})
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=target_pattern(opened.model.encoder.lora_targets),
            lora_dropout=0.0,
            inference_mode=True,
            base_model_name_or_path=base_name,
        )
        config.save_pretrained(
            str(directory / code),
            auto_mapping_dict={"base_model_class": WhisperModel.__name__, "parent_library": WhisperModel.__module__},
        )


def target_pattern(targets: Sequence[str]) -> str:
    """Convert shell patterns of encoder layers to one regular expression, which PEFT matches with WhisperModel's names.

    A list of layer names would also match layers of the decoder.
    """
    return rf"encoder\.({'|'.join(re.escape(target).replace(re.escape('*'), '.*') for target in targets)})"
