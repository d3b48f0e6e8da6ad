"""How many parameters each part of the model has, and how many of them a phase trains.

In: a built model, frozen as its phase says (zipperasr.model.build). Out: `PhaseSize`. All numbers are counted, none is
computed from a formula.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import torch

from zipperasr.lora.base import BANK_NAMES
from zipperasr.model.build import PHASES, add_adapters, build_empty_model, set_trainable
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM

PARTS = ("encoder", "encoder LoRA", "encoder router", "projector", "LLM", "LLM LoRA")


@dataclass
class Count:
    """Parameters of one part."""

    total: int = 0
    trained: int = 0


@dataclass
class PhaseSize:
    """The model of one phase."""

    parts: dict[str, Count] = field(default_factory=lambda: {part: Count() for part in PARTS})
    banks: int = 0  # trained elements that belong to one language each

    @property
    def total(self) -> int:
        return sum(count.total for count in self.parts.values())

    @property
    def trained(self) -> int:
        return sum(count.trained for count in self.parts.values())


def build_phases(config: ModelConfig, lora: str, codes: Sequence[str]) -> tuple[SpeechLLM, dict[str, PhaseSize]]:
    """The SFT model on the meta device, and the size of both phases. config names local directories."""
    model = build_empty_model(config)
    sizes = {}
    for phase in PHASES:
        if phase == "sft":
            lid_embeddings = torch.zeros(len(codes), model.encoder.width, device="meta")
            add_adapters(model, config, lora, codes, lid_embeddings)
        set_trainable(model, phase)
        sizes[phase] = count_parameters(model)
    return model, sizes


def count_parameters(model: SpeechLLM) -> PhaseSize:
    """Count what is there now; a tied tensor counts once."""
    size = PhaseSize()
    adapted = model.adapted_layers
    for name, parameter in model.named_parameters():
        count = size.parts[_part(name, adapted)]
        count.total += parameter.numel()
        if parameter.requires_grad:
            count.trained += parameter.numel()
            size.banks += parameter.numel() if name.rpartition(".")[2] in BANK_NAMES else 0
    return size


def parameter_rows(sizes: dict[str, PhaseSize]) -> list[tuple[str, ...]]:
    """A table: one part a line, then the sum."""
    rows = [("part", "alignment", "trained", "adaptation", "trained")]
    for part in PARTS:
        counts = [size.parts[part] for size in sizes.values()]
        rows.append((part, *(_number(value) for count in counts for value in (count.total, count.trained))))
    sums = (_number(value) for size in sizes.values() for value in (size.total, size.trained))
    return [*rows, ("total", *sums)]


def _part(name: str, adapted: Container[str]) -> str:
    if name.startswith("adapters.router."):
        return "encoder router"
    if name.startswith("encoder."):
        return "encoder LoRA" if name.rpartition(".")[0] in adapted else "encoder"
    if name.startswith("llm."):
        return "LLM LoRA" if "lora_" in name else "LLM"
    return "projector"


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"
