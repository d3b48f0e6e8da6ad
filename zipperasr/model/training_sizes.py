"""Check a training's config.yaml against the tensors in its model.safetensors, before building the model.

In: an experiment, its backbones, its weights. Out: a ValueError, or nothing. A wrong rank would change the scaling
(alpha / r), and a large one could request more memory than the machine has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zipperasr.lora import NO_LORA, variant_class
from zipperasr.lora.base import BANK_NAMES, DOWN_NAMES
from zipperasr.model.backbones import find_encoder, find_llm
from zipperasr.model.checkpoint import EMBEDDINGS
from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.sizes import SLACK, TIMES
from zipperasr.model.weights_file import shapes

Shapes = Mapping[str, tuple[tuple[int, ...], int]]


def check_training_size(experiment: Experiment, backbones: ModelConfig, weights: Path, where: str) -> None:
    """Raises ValueError if ranks, languages or widths are not those of the weights.

    backbones: names the encoder and the LLM that the model is built on. where: path of the configuration in errors.
    """
    if experiment.phase == "sft" and not (experiment.lora and experiment.source):
        raise ValueError(f"{where}: phase sft needs lora and init, the directory of the alignment; add them")
    check_ranks(experiment, weights, where)
    (encoder, encoder_sizes), (llm, llm_sizes) = find_encoder(backbones.whisper), find_llm(backbones.llm)
    if experiment.init_from:  # its sizes are those of init_from, which is checked separately
        return
    found = shapes(weights)
    if experiment.phase == "align":
        wanted = _aligned(experiment, encoder.width_of(encoder_sizes), llm.shape(llm_sizes).width)
        wanted += experiment.model.llm_lora.rank * llm.lora_widths(llm_sizes)
    else:
        wanted = _adapted(experiment, *encoder.lora_inputs(encoder_sizes), found)
    held = sum(size for _, size in found.values())
    if wanted > TIMES * held + SLACK:
        raise ValueError(
            f"{where}: with these backbones it implies at least {wanted:,} trained parameters, but {weights.name} "
            f"contains {held:,}; use the files and backbones of one training"
        )


def check_ranks(experiment: Experiment, weights: Path, where: str) -> None:
    """Raises ValueError naming the first tensor whose rank is not the configuration's, or that has too few languages.

    where: path of the configuration in errors.
    """
    model, num_languages = experiment.model, len(experiment.added or experiment.languages)
    for name, (shape, _) in shapes(weights).items():
        last = name.rpartition(".")[2]
        if name.endswith("lora_A.default.weight") and experiment.phase == "align":
            key, rank, got = "llm_lora.rank", model.llm_lora.rank, shape[:1]
        elif last in DOWN_NAMES and name.startswith("encoder.") and experiment.phase == "sft":
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


def _aligned(experiment: Experiment, encoder_width: int, llm_width: int) -> int:
    """Number of parameters of the projector."""
    inside = experiment.model.projector_dim or llm_width
    return inside * (8 * encoder_width + inside + llm_width)


def _adapted(experiment: Experiment, widths: int, layers: int, found: Shapes) -> int:
    """A lower bound of the number of parameters of the encoder's LoRA and its router; variants differ by less than 4x.

    widths: sum of the adapted layers' input widths. layers: their number.
    """
    if experiment.lora == NO_LORA:
        return 0
    banks = len(experiment.languages) // 2 if variant_class(experiment.lora).bank_starts else 0
    d_lid = found.get(EMBEDDINGS, ((0, 0), 0))[0][-1:] or (0,)
    return experiment.model.encoder_lora.rank * (widths * (1 + banks) + layers * d_lid[0])
