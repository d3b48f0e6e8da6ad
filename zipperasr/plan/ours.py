"""The settings that are ours and not the paper's, with the values they have now.

In: the loaded configuration and the built model. Out: rows of a table. A setting that the paper gives does not stand
here; a new one of ours gets a line.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from zipperasr.lora import variant_class
from zipperasr.lora.router import Router
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.prepare.set_builder import HELD_OUT_SHARE

# key of align.yaml and sft.yaml -> what it decides
TRAINING = {
    "epochs": "how often training reads the data",
    "packs_per_batch": "per GPU; the paper's 16 (chunked) and 10 (full context) may count all of them",
    "language_sampling": "an epoch draws a language by its share of the data ** this",
    "accumulation": "micro-steps of an optimiser step",
    "precision": "of weights and activations; the optimiser keeps float32 copies",
    "compile": "torch.compile of the layers",
    "betas": "AdamW",
    "weight_decay": "AdamW, on matrices only",
    "gradient_clipping": "largest norm",
    "absent_language": "bank of a language absent from the global batch: hold (unchanged) or dense (zero gradients)",
    "router_lr_factor": "the router's learning rate is lr times this",
}
MODEL = {"checkpointing": "activations are computed again in the backward pass"}
DECODING = {
    "beam": "1 is greedy",
    "length_penalty": "beam search only",
    "tokens_per_s": "longest transcript: tokens per second of audio",
    "tokens_floor": "and this many more",
    "precision": "of weights and activations",
}


def our_rows(config: Mapping[str, Any], model: SpeechLLM, lora: str) -> list[tuple[str, ...]]:
    """config: align, sft, model, decode -> loaded dataclass; model: of the adaptation.

    Raises ValueError if a line names a key that its file does not know.
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
        raise ValueError(f"{type(config).__name__} has no key {key!r}; the tables in {__name__} are out of date")
    return getattr(config, key)


def _built_in(model: SpeechLLM, lora: str) -> list[tuple[str, ...]]:
    """What is not a key of a file, or is filled in by the model itself."""
    rows = [
        ("projector_dim in model.yaml", _show(model.projector.linear.in_features), "width inside the projector"),
        ("LLM LoRA dropout", _show(model.llm.peft_config["default"].lora_dropout), "the encoder's LoRA has none"),
        ("chunk length", "one a step", "drawn from (seed, step), equal on all GPUs"),
        ("prompts", "languages.tsv", "one native sentence per language; no chat template, no thinking block"),
        ("length filter", "format_audio --help", "of training utterances: --min_s and --max_s"),
        ("sampling", "prepare --help", "of Table I's hours where no list is at hand: --seed"),
        ("held-out dev set", f"{100 * HELD_OUT_SHARE:g} %", "of train, where no official dev set is free"),
        ("LID embedding", "token", "row of Whisper's language token; --lid_mode state takes the decoder's state"),
    ]
    if variant_class(lora).routed:
        init_std = inspect.signature(Router).parameters["init_std"].default
        rows += [("router init", f"N(0, {init_std}^2)", "of the weights; the bias starts at 0")]
    options = next(iter(model.adapters.layers.values())).options
    for option in dataclasses.fields(options):
        name = f"encoder_lora.{lora}.{option.name} in model.yaml"
        rows.append((name, _show(getattr(options, option.name)), option.metadata["meaning"]))
    return rows


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
