"""List the settings that the paper does not give, with their current values.

In: the loaded configuration and the built model. Out: rows of a table. A new setting that is not in the paper needs an
entry here.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from zipperasr.lora import NO_LORA, is_routed
from zipperasr.lora.router import Router
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.prepare.set_builder import HELD_OUT_SHARE

# key of align.yaml and sft.yaml -> its meaning
TRAINING = {
    "epochs": "number of times that the training data is used",
    "packs_per_batch": "per GPU; the paper's 16 (chunked) and 10 (full context) may be the sum over GPUs",
    "language_sampling": "languages are sampled by their share of the data to this power",
    "accumulation": "micro-steps per optimiser step",
    "precision": "of weights and activations; the optimiser keeps float32 copies",
    "compile": "compile the layers with torch.compile",
    "betas": "AdamW",
    "weight_decay": "AdamW, on matrices only",
    "gradient_clipping": "maximum norm",
    "absent_language": "bank of a language absent from the global batch: hold (unchanged) or dense (zero gradients)",
    "router_lr_factor": "the router's learning rate is lr times this",
    "encoder_lr_factor": "in the alignment, the encoder's learning rate is lr times this",
}
MODEL = {"checkpointing": "recompute activations in the backward pass"}
DECODING = {
    "beam": "beam size; 1: greedy search",
    "length_penalty": "beam search only",
    "tokens_per_s": "longest transcript: tokens per second of audio",
    "tokens_floor": "longest transcript: added to tokens_per_s * seconds",
    "precision": "of weights and activations",
}


def our_rows(config: Mapping[str, Any], model: SpeechLLM, lora: str) -> list[tuple[str, ...]]:
    """Rows of the table. config: align, sft, model, decode -> loaded dataclass. model: of the adaptation.

    Raises ValueError if a key listed here does not exist in its file.
    """
    rows = [("setting", "value", "meaning; a / b: alignment / adaptation")]
    for files, keys in ((("align", "sft"), TRAINING), (("model",), MODEL), (("decode",), DECODING)):
        place = " and ".join(f"{file}.yaml" for file in files)
        for key, meaning in keys.items():
            values = dict.fromkeys(_show(_value(config[file], key)) for file in files)  # equal ones once
            rows.append((f"{key} in {place}", " / ".join(values), meaning))
    return [*rows, *_built_in(model, lora)]


def _value(config: Any, key: str) -> Any:
    if not hasattr(config, key):
        raise ValueError(f"{type(config).__name__} has no key {key!r}; remove it from the tables in {__name__}")
    return getattr(config, key)


def _built_in(model: SpeechLLM, lora: str) -> list[tuple[str, ...]]:
    """Settings that are not keys of a file, or whose default depends on the model."""
    rows = [
        ("projector_dim in model.yaml", _show(model.projector.linear.in_features), "hidden width of the projector"),
        ("LLM LoRA dropout", _show(model.llm.peft_config["default"].lora_dropout), "the encoder's LoRA has none"),
        ("chunk length", "one per step", "drawn from (seed, step), the same on all GPUs"),
        ("prompts", "languages.tsv", "one native sentence per language; no chat template, no thinking block"),
        ("length filter", "--min_s, --max_s", "of training utterances, in stages.format_audio"),
        ("sampling", "--seed", "of Table I's hours if no utterance list is available, in stages.prepare_data"),
        ("held-out dev set", f"{100 * HELD_OUT_SHARE:g} %", "of train, if there is no official dev set"),
        ("LID embedding", "token", "embedding of Whisper's language token; --lid_mode state: the decoder's state"),
    ]
    if is_routed(lora):
        init_std = inspect.signature(Router).parameters["init_std"].default
        rows += [("router init", f"N(0, {init_std}^2)", "of the weights; biases start at 0")]
    if lora == NO_LORA:
        return rows
    options = next(iter(model.adapters.layers.values())).options
    for option in dataclasses.fields(options):
        name = f"encoder_lora.{lora}.{option.name} in model.yaml"
        rows.append((name, _show(getattr(options, option.name)), option.metadata["meaning"]))
    return rows


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
