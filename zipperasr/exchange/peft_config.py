"""Read rank, alpha and scaling of a plain LoRA from PEFT's adapter_config.json.

In: the file. Out: `LoraFacts`, or a ValueError that lists the options that make the adapter differ from W + s B A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from zipperasr.model.backbone_files import read_json
from zipperasr.yaml_text import shown

# Origin of an adapter, the layers it was attached to, and how it was trained: options that do not affect its output.
REMARKS = (
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "megatron_core",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config",  # of init_lora_weights
    "qalora_group_size", "ensure_weight_tying", "runtime_config",
)  # fmt: skip
READ = ("peft_type", "r", "lora_alpha", "use_rslora")
LARGEST_RANK, LARGEST_ALPHA = 65_536, 1e30  # wider than any layer; B is multiplied by alpha / r
# Any other option, including those of later PEFT versions, must be off (null, false or empty) or have one of these
# values. PiSSA and some other initialisations also change the base weights.
PLAIN = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "eva", "orthogonal")}


@dataclass(frozen=True)
class LoraFacts:
    """Configuration of a plain LoRA."""

    rank: int
    alpha: float
    scaling: float  # of B A


def read_lora_config(path: Path) -> LoraFacts:
    """Read adapter_config.json. Raises ValueError if it is not one plain LoRA of one rank, or a number is invalid."""
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type: got {shown(config.get('peft_type'))}, wanted 'LORA'")
    wrong = [f"{key:.40}" for key, value in config.items() if not _plain(key, value)]
    if wrong:
        names = ", ".join(wrong[:6]) + (f" and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise ValueError(
            f"{path}: {names}: unsupported or unknown options; wanted one plain LoRA: train the adapter without them, "
            "or remove those from the file that do not affect the adapter's output"
        )
    rank, alpha, rslora = config.get("r"), config.get("lora_alpha"), config.get("use_rslora") or False
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= LARGEST_RANK:
        raise ValueError(f"{path}: r: got {shown(rank)}, wanted an integer from 1 to {LARGEST_RANK:,}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < LARGEST_ALPHA:
        raise ValueError(f"{path}: lora_alpha: got {shown(alpha)}, wanted a finite number above 0")
    if not isinstance(rslora, bool):
        raise ValueError(f"{path}: use_rslora: got {shown(rslora)}, wanted true or false")
    return LoraFacts(rank, float(alpha), alpha / (math.sqrt(rank) if rslora else rank))


def _plain(key: str, value: object) -> bool:
    """Whether the option is compatible with a plain LoRA."""
    off = value is None or value is False or value in ([], {})
    return off or key in (*REMARKS, *READ) or value in PLAIN.get(key, ())
