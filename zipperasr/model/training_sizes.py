"""What a training's config.yaml asks for, against the tensors of its model.safetensors, before the model is built.

In: an experiment, the backbones below it, its weights. Out: nothing, or one line. A wrong rank would be a wrong scaling
(alpha / r), and a large one more memory than there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.lora import variant_class
from zipperasr.lora.base import BANK_NAMES
from zipperasr.model.backbone_files import check_backbone
from zipperasr.model.checkpoint import EMBEDDINGS
from zipperasr.model.sizes import SLACK, TIMES
from zipperasr.model.weights_file import shapes

if TYPE_CHECKING:
    from zipperasr.model.experiment import Experiment
    from zipperasr.model.model_config import ModelConfig

Shapes = Mapping[str, tuple[tuple[int, ...], int]]


def check_training_size(experiment: Experiment, backbones: ModelConfig, weights: Path, where: str) -> None:
    """Raises ValueError if ranks, languages or widths are not those of the weights.

    backbones: names those that the model is built on. where: how errors name the configuration.
    """
    if experiment.phase == "sft" and not (experiment.lora and experiment.source):
        raise ValueError(f"{where}: phase sft without lora, or without init: the training that it started from")
    check_ranks(experiment, weights, where)
    whisper, llm = check_backbone(backbones.whisper, "whisper"), check_backbone(backbones.llm, "qwen3")
    if experiment.added:  # its configuration is that of init_from, which is checked by itself
        return
    found = shapes(weights)
    aligned = experiment.phase == "align"
    wanted = _aligned(experiment, whisper, llm) if aligned else _adapted(experiment, whisper, found)
    held = sum(size for _, size in found.values())
    if wanted > TIMES * held + SLACK:
        raise ValueError(
            f"{where}: it and the backbones make at least {wanted:,} trained parameters, but {weights.name} holds "
            f"{held:,}; are they of the same training?"
        )


def check_ranks(experiment: Experiment, weights: Path, where: str) -> None:
    """Raises ValueError naming the first tensor that has another rank than the configuration, or too few languages.

    where: how errors name the configuration.
    """
    model, num_languages = experiment.model, len(experiment.added or experiment.languages)
    for name, (shape, _) in shapes(weights).items():
        last = name.rpartition(".")[2]
        if name.endswith("lora_A.default.weight") and experiment.phase == "align":
            key, rank, got = "llm_lora.rank", model.llm_lora.rank, shape[:1]
        elif last in ("a", "a_specific") and name.startswith("encoder.whisper.") and experiment.phase == "sft":
            key, rank, got = "encoder_lora.rank", model.encoder_lora.rank, shape[-2:-1]
        else:
            key, rank, got = "", 0, (0,)
        if got != (rank,):
            raise ValueError(
                f"{where}: {key}: {rank}, but {name} in {weights.name} has shape {list(shape)}; correct the rank: the "
                "update is scaled by alpha / rank"
            )
        if (last in BANK_NAMES or name == EMBEDDINGS) and (not shape or shape[0] < num_languages):
            raise ValueError(
                f"{where}: {num_languages:,} languages, but {name} in {weights.name} has shape {list(shape)}: too few "
                "banks; correct languages"
            )


def _aligned(experiment: Experiment, whisper: Mapping[str, int], llm: Mapping[str, int]) -> int:
    """Parameters of the LLM's LoRA and the projector."""
    width, inside = llm["hidden_size"], experiment.model.projector_dim or llm["hidden_size"]
    heads = 2 * llm["head_dim"] * (llm["num_attention_heads"] + llm["num_key_value_heads"])
    lora = (
        experiment.model.llm_lora.rank * llm["num_hidden_layers"] * (7 * width + heads + 3 * llm["intermediate_size"])
    )
    return lora + inside * (8 * whisper["d_model"] + inside + width)


def _adapted(experiment: Experiment, whisper: Mapping[str, int], found: Shapes) -> int:
    """Parameters of the encoder's LoRA and its router, at the least: variants differ by a factor below 4."""
    rank, layers = experiment.model.encoder_lora.rank, whisper["encoder_layers"]
    widths = layers * (5 * whisper["d_model"] + whisper["encoder_ffn_dim"])
    banks = len(experiment.languages) // 2 if variant_class(experiment.lora).bank_starts else 0
    d_lid = found.get(EMBEDDINGS, ((0, 0), 0))[0][-1:] or (0,)
    return rank * (widths * (1 + banks) + 6 * layers * d_lid[0])
