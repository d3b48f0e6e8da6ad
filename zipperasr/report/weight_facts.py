"""What the report reads from a training's weights: numbers of parameters, norms of the two parts of B.

In: a training directory with model.safetensors, or with FACTS, which replaces the weights where only results are
published. Out: `WeightFacts`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from zipperasr.atomic import atomic_path
from zipperasr.config import from_tree
from zipperasr.lora.router import router_options
from zipperasr.model.checkpoint import count_trained
from zipperasr.model.experiment import WEIGHTS
from zipperasr.model.model_config import EncoderLoraConfig
from zipperasr.model.weights_file import open_weights
from zipperasr.report.collect import Training
from zipperasr.report.read_files import read_config, read_json

FACTS = "weight_facts.json"


@dataclass(frozen=True)
class WeightFacts:
    """Content of FACTS."""

    adapter_parameters: int
    trained_parameters: int
    specific_over_shared: dict[str, float] = field(default_factory=dict)


def parameters(training: Training) -> tuple[int, int] | None:
    """Trained parameters of an adaptation: (encoder LoRA and router, all); None if it has not finished."""
    weights = training.model.directory / WEIGHTS
    if training.model.phase != "sft":
        return None
    if weights.is_file():
        config = read_config(training.model.directory)
        learns = _encoder_lora(config, training).learns_embeddings(str(config.get("lora")))
        return count_trained(weights, learns)
    saved = _saved(training)
    return (saved.adapter_parameters, saved.trained_parameters) if saved else None


def save_facts(training: Training) -> None:
    """Write FACTS, unless the training has none."""
    if (counted := parameters(training)) is not None:
        facts = WeightFacts(*counted, specific_over_shared(training))
        with atomic_path(training.model.directory / FACTS) as temporary:
            temporary.write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")


def _saved(training: Training) -> WeightFacts | None:
    path = training.model.directory / FACTS
    saved = read_json(path)
    return None if saved is None else from_tree(WeightFacts, saved, str(path))


def specific_over_shared(training: Training) -> dict[str, float]:
    """{language: ||B_spec diag(p)|| / ||B_shared diag(1 - p)||}, Frobenius norms over all layers.

    Empty for a system that was fine-tuned or extended: the other weights belong to the system it started from.
    """
    final, weights = training.router_final, training.model.directory / WEIGHTS
    if not final:
        return {}
    if not weights.is_file():
        saved = _saved(training)
        return saved.specific_over_shared if saved else {}
    share = torch.tensor(final["p"])  # (layers, languages, rank)
    config = read_config(training.model.directory)
    if config.get("init_from"):
        return {}
    share = router_options(_encoder_lora(config, training).of(config.get("lora"))).specific_share(share)
    own, common = ({code: 0.0 for code in final["languages"]} for _ in range(2))  # squared norms
    with open_weights(weights) as stream:
        for number, layer in enumerate(final["layers"]):
            name = next((name for name in stream.keys() if name.endswith(f".{layer}.b_shared")), layer)  # noqa: SIM118
            shared, specific = stream.get_tensor(name), stream.get_tensor(name.replace(".b_shared", ".b_specific"))
            for place, code in enumerate(final["languages"]):
                p = share[number, place]
                own[code] += (specific[place] * p).square().sum().item()
                common[code] += (shared * (1 - p)).square().sum().item()
    return {code: math.sqrt(own[code] / common[code]) if common[code] else math.inf for code in own}


def _encoder_lora(config: dict[str, Any], training: Training) -> EncoderLoraConfig:
    """The options of the adapters in a training's config.yaml."""
    model = config.get("model")
    lora = model.get("encoder_lora", {}) if isinstance(model, dict) else {}
    return from_tree(EncoderLoraConfig, lora, f"{training.model.directory / 'config.yaml'}: encoder_lora")
