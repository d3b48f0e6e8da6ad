"""Read rank, alpha and scaling of a plain LoRA from PEFT's adapter_config.json.

In: the file. Out: `LoraFacts`, or a ValueError that lists every option by which the adapter is not just W + s B A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from zipperasr.model.backbone_files import read_json
from zipperasr.yaml_text import shown

# Where an adapter is from, what it was attached to and how it was trained; nothing that changes what it computes.
REMARKS = (
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "megatron_core",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config",  # of init_lora_weights
    "qalora_group_size", "ensure_weight_tying", "runtime_config",
)  # fmt: skip
READ = ("peft_type", "r", "lora_alpha", "use_rslora")
LARGEST_RANK, LARGEST_ALPHA = 65_536, 1e30  # more than the widest layer has; B is multiplied by alpha / r
# Any other option, also one that a later PEFT may bring, must be off (null, false or empty), or one of these values;
# PiSSA and some other starts change the base's weights too.
PLAIN = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "eva", "orthogonal")}


@dataclass(frozen=True)
class LoraFacts:
    """One plain LoRA, by its configuration."""

    rank: int
    alpha: float
    scaling: float  # of B A


def read_lora_config(path: Path) -> LoraFacts:
    """Raises ValueError if it is no plain LoRA of one rank, or a number makes no sense."""
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type: got {shown(config.get('peft_type'))}, wanted 'LORA'")
    wrong = [f"{key:.40}" for key, value in config.items() if not _plain(key, value)]
    if wrong:
        names = ", ".join(wrong[:6]) + (f" and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise ValueError(
            f"{path}: {names}: not one plain LoRA, or an option that is not known here; train the adapter without it, "
            "or, if it does not change what the adapter computes, remove it from the file"
        )
    rank, alpha, rslora = config.get("r"), config.get("lora_alpha"), config.get("use_rslora") or False
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= LARGEST_RANK:
        raise ValueError(f"{path}: r: got {shown(rank)}, wanted the rank, a whole number from 1 to {LARGEST_RANK:,}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < LARGEST_ALPHA:
        raise ValueError(f"{path}: lora_alpha: got {shown(alpha)}, wanted a finite number above 0")
    if not isinstance(rslora, bool):
        raise ValueError(f"{path}: use_rslora: got {shown(rslora)}, wanted true or false")
    return LoraFacts(rank, float(alpha), alpha / (math.sqrt(rank) if rslora else rank))


def _plain(key: str, value: object) -> bool:
    """Whether the option leaves the adapter one plain LoRA, or is read by itself."""
    off = value is None or value is False or value in ([], {})
    return off or key in (*REMARKS, *READ) or value in PLAIN.get(key, ())
