"""A tiny trained model in every format that users exchange: directories, a bundle, an adapter, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.exchange.conftest import finish, shake_all
from tests.model import tiny
from zipperasr.align.aligner import Aligner, AlignerConfig
from zipperasr.exchange.bundle import write_bundle
from zipperasr.exchange.peft_adapter import write_peft
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training
from zipperasr.transcribe.calibration import Calibration


@dataclass(frozen=True)
class Models:
    """Their paths."""

    align: Path
    routed: Path  # zipper_soft, started from the alignment, with an aligner and a calibration
    vanilla: Path
    bundle: Path
    adapter: Path  # in PEFT's format
    checkpoints: tuple[Path, ...]  # safetensors, torch, and an index of shards


def write_models(base: Path) -> Models:
    """Create exp/{backbones,align,sft_VARIANT} and exported models below `base`."""
    exp = base / "exp"
    tiny.write_backbones(exp / "backbones")
    config = tiny.model_config(exp / "backbones")
    align = Experiment("align", "full", None, None, tiny.CODES, 1, config)
    model = build_for_training(align, torch.float32, seed=1)
    shake_all(model)
    finish(align, model, exp / "align")
    for variant in ("zipper_soft", "vanilla"):
        lid = tiny.lid_embeddings() if variant == "zipper_soft" else None
        sft = Experiment("sft", "full", variant, str(exp / "align"), tiny.CODES, 1, config, lid=lid)
        model = build_for_training(sft, torch.float32, seed=1)
        tiny.shake_adapters(model)
        finish(sft, model, exp / f"sft_{variant}")
    sizes = {"width": tiny.D_ENCODER, "hidden": 8, "kernel": 3, "prior": 0.5, "characters": "abcdefghij"}
    Aligner(AlignerConfig(weights_digest(exp / "sft_zipper_soft"), **sizes)).save(exp / "sft_zipper_soft")
    Calibration(0.7, -0.2).save(exp / "sft_zipper_soft", words=100)
    write_bundle(exp / "sft_zipper_soft", base / "bundle.zip")
    code = tiny.CODES[0]
    write_peft(load_pretrained(exp / "sft_vanilla"), [code], base / "peft", "openai/whisper-tiny")
    return Models(
        exp / "align", exp / "sft_zipper_soft", exp / "sft_vanilla", base / "bundle.zip", base / "peft" / code,
        _checkpoints(exp / "sft_vanilla/model.safetensors", base / "foreign"),
    )  # fmt: skip


def _checkpoints(weights: Path, folder: Path) -> tuple[Path, ...]:
    folder.mkdir()
    tensors = load_file(weights)
    plain, torchs, index = folder / "m.safetensors", folder / "m.pt", folder / "m.safetensors.index.json"
    save_file(tensors, plain)
    torch.save({"state_dict": tensors, "epoch": 3, "nested": [{"a": torch.ones(2)}]}, torchs)
    index.write_text(f'{{"metadata": {{}}, "weight_map": {{{", ".join(_quoted(name, plain) for name in tensors)}}}}}')
    return plain, torchs, index


def _quoted(name: str, shard: Path) -> str:
    return f'"{name}": "{shard.name}"'
