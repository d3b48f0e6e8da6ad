"""Check the sizes in a backbone's config.json against the weights in the same directory, before building the model.

In: config.json, the headers of the weights. Out: the sizes, or a ValueError. Without this check, a wrong number in
config.json could request more memory than the machine has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from zipperasr.model.weights_file import shapes
from zipperasr.yaml_text import shown

MOST_LAYERS, LARGEST_SIZE, MOST_PARAMETERS = 1000, 10_000_000, 10**12
SLACK, TIMES = 10_000_000, 4  # a checkpoint may hold the encoder alone; strict loading names what is missing
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # files that transformers reads
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class SizeRules:
    """The sizes of a backbone family: their keys in config.json, and the number of parameters that they imply."""

    config_class: type[PreTrainedConfig]  # its defaults replace missing keys
    keys: tuple[str, ...]
    num_parameters: Callable[[Sizes], int]  # of the large matrices
    optional: tuple[str, ...] = ()  # keys without a default: transformers derives the size from others

    @property
    def model_type(self) -> str:
        return self.config_class.model_type


def check_backbone_size(config: Mapping[str, object], config_file: Path, rules: SizeRules) -> dict[str, int]:
    """Return the sizes in config.json by key, with transformers' defaults for missing keys.

    Raises ValueError if a size is invalid, or if the sizes imply more parameters than the weights contain.
    """
    defaults = rules.config_class()
    synonyms = {name: key for key, name in rules.config_class.attribute_map.items()}
    sizes = {}
    for key in (*rules.keys, *rules.optional):
        given = [config[name] for name in (key, synonyms.get(key)) if config.get(name) is not None]
        for value in given:
            most = MOST_LAYERS if key.endswith("layers") else LARGEST_SIZE
            least = 0 if key.endswith("layers") else 1
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(
                    f"{config_file}: {key}: got {shown(value)}, wanted a whole number from {least} to {most:,}"
                )
        if given or key not in rules.optional:
            sizes[key] = max(given, default=getattr(defaults, key))
    wanted = rules.num_parameters(sizes)
    held = _held(config_file.parent)
    if wanted > (MOST_PARAMETERS if held is None else TIMES * held + SLACK):
        what = f"at most {MOST_PARAMETERS:,} are supported" if held is None else f"the weights contain {held:,}"
        raise ValueError(f"{config_file}: its sizes imply {wanted:,} parameters, but {what}; fetch the model again")
    return sizes


def _held(directory: Path) -> int | None:
    """An upper bound of the number of parameters in a backbone's files; None if there are no weights."""
    files = [path for pattern in _WEIGHTS for path in sorted(directory.glob(pattern))]
    return sum(_count(path) for path in files) if files else None


def _count(path: Path) -> int:
    if path.suffix != ".safetensors":
        return path.stat().st_size
    return sum(size for _, size in shapes(path).values())
