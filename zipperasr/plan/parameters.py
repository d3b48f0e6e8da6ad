"""Count the parameters of each part of the model, and how many of them a phase trains.

In: a model configuration; backbones that are not on this machine are replaced with the published shapes that ship next
to model.yaml, and no hub is contacted. Out: the model on the meta device, `PhaseSize`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zipperasr.lora.base import PER_LANGUAGE
from zipperasr.model.build import add_adapters, build_empty_model, empty_embeddings, set_trainable
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.prepare.dataset_table import PHASES

CONFIG = "config.json"
SHIPPED = "architectures"  # below the directory of model.yaml
PARTS = ("encoder", "encoder LoRA", "encoder router", "projector", "LLM", "LLM LoRA")


@dataclass
class Count:
    """Parameters of one part."""

    total: int = 0
    trained: int = 0


@dataclass
class PhaseSize:
    """Parameters of the model in one phase."""

    parts: dict[str, Count] = field(default_factory=lambda: {part: Count() for part in PARTS})
    banks: int = 0  # trained parameters in language-specific banks

    @property
    def total(self) -> int:
        return sum(count.total for count in self.parts.values())

    @property
    def trained(self) -> int:
        return sum(count.trained for count in self.parts.values())


def with_local_backbones(config: ModelConfig, model_yaml: Path) -> ModelConfig:
    """Return the configuration with its backbones replaced by directories that contain a config.json."""
    shipped = model_yaml.parent / SHIPPED
    names = {"whisper": config.whisper, "llm": config.llm, "lid_whisper": config.lid_whisper}
    return replace(config, **{key: name and locate(name, shipped) for key, name in names.items()})


def locate(name: str, shipped: Path) -> str:
    """The directory `name`, or the one with its last part in `shipped`.

    Raises FileNotFoundError if neither has a config.json.
    """
    places = [Path(name), shipped / Path(name).name]
    for place in places:
        if (place / CONFIG).is_file():
            return str(place)
    raise FileNotFoundError(
        f"{name}: neither {places[0] / CONFIG} nor {places[1] / CONFIG} exists; run stage 0, download the model, or "
        "save its published config.json there"
    )


def build_phases(config: ModelConfig, lora: str, codes: Sequence[str]) -> tuple[SpeechLLM, dict[str, PhaseSize]]:
    """Build the adapted model on the meta device, and count both phases. config: with local backbones."""
    model = build_empty_model(config)
    sizes = {}
    for phase in PHASES:
        if phase == "sft":
            add_adapters(model, config, lora, codes, empty_embeddings(config, lora, len(codes)))
        set_trainable(model, phase)
        sizes[phase] = count_parameters(model)
    return model, sizes


def count_parameters(model: SpeechLLM) -> PhaseSize:
    """Count the parameters of a model; tied ones count once."""
    size = PhaseSize()
    adapted = model.adapted_layers
    for name, parameter in model.named_parameters():
        count = size.parts[_part(name, adapted)]
        count.total += parameter.numel()
        if parameter.requires_grad:
            count.trained += parameter.numel()
            size.banks += parameter.numel() if name.rpartition(".")[2] in PER_LANGUAGE else 0
    return size


def parameter_rows(sizes: dict[str, PhaseSize]) -> list[tuple[str, ...]]:
    """A table: one part per row, then the sum."""
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
