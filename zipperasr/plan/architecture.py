"""Where the shape of a backbone stands when its weights are not at hand.

In: the name that model.yaml gives. Out: a directory with config.json, real or, failing that, the published shape that
ships beside model.yaml. No hub is asked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from zipperasr.model.model_config import ModelConfig

CONFIG = "config.json"
SHIPPED = "architectures"  # below the directory of model.yaml


def with_local_backbones(config: ModelConfig, model_yaml: Path) -> ModelConfig:
    """The same model with both backbones named by directories that hold a config.json."""
    shipped = model_yaml.parent / SHIPPED
    return dataclasses.replace(config, whisper=locate(config.whisper, shipped), llm=locate(config.llm, shipped))


def locate(name: str, shipped: Path) -> str:
    """The directory `name`, or `shipped` / its last part. Raises FileNotFoundError if neither has a config.json."""
    places = [Path(name), shipped / Path(name).name]
    for place in places:
        if (place / CONFIG).is_file():
            return str(place)
    raise FileNotFoundError(
        f"{name}: no {CONFIG} there, and no {places[1] / CONFIG}; run stage 0, download the model, or write its "
        "published shape into that file"
    )
