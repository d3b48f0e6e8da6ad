"""Check the backbones in model.yaml before the first stage.

Reads JSON files only: the registry of backbones takes seconds to import.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zipperasr.config import load_yaml

USES_BACKBONES = range(3, 8)  # stages that load Whisper or the LLM, or at least their tokenizers
MADE_BY_STAGE_0 = ("backbones.yaml", "random_backbones.yaml")  # configurations of the backbones that it makes


def check_backbones(model_yaml: Path, stages: Sequence[int]) -> None:
    """Check that local backbones exist and that Whisper has the configured number of mel bins.

    Hub ids are left to transformers. Directories that stage 0 is going to make are not checked.
    """
    from zipperasr.model.model_config import ModelConfig

    config = load_yaml(ModelConfig, model_yaml)
    made = 0 in stages and any((model_yaml.parent / name).is_file() for name in MADE_BY_STAGE_0)
    backbones = {"whisper": config.whisper, "llm": config.llm, "lid_whisper": config.languages_from}
    for key, name in backbones.items():
        is_local = Path(name).is_dir() or name.count("/") != 1  # a hub id is OWNER/NAME
        if not is_local:
            continue
        file = Path(name) / "config.json"
        if not file.is_file():
            if 0 not in stages and set(stages) & set(USES_BACKBONES):
                raise FileNotFoundError(f"{model_yaml}: {key}: {file} does not exist; run stage 0, or correct the path")
            continue
        mel_bins = _mel_bins(_read_json(file), config.mel_bins)
        if key == "whisper" and mel_bins != config.mel_bins and not made:
            raise ValueError(
                f"{model_yaml}: mel_bins: got {config.mel_bins}, but {file} has {mel_bins}; set mel_bins: {mel_bins}"
            )


def check_language_embeddings(model_yaml: Path, lora: str) -> None:
    """Raise ValueError if the variant's router needs embeddings that the local encoder does not provide."""
    from zipperasr.lora import is_routed
    from zipperasr.model.model_config import ModelConfig

    config = load_yaml(ModelConfig, model_yaml)
    file = Path(config.languages_from) / "config.json"
    if not is_routed(lora) or config.encoder_lora.learns_embeddings(lora) or not file.is_file():
        return
    if _read_json(file).get("model_type") != "whisper":
        from zipperasr.model.backbones import find_languages

        find_languages(config.languages_from)


def _mel_bins(config: dict, default: int) -> int:
    """The mel bins in an encoder's config.json; those of w2v-BERT come in pairs."""
    pair = config.get("feature_projection_input_dim")
    return config.get("num_mel_bins") or (pair // 2 if isinstance(pair, int) else default)


def _read_json(path: Path) -> dict:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); restore the file, or rerun stage 0") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: got a JSON {type(tree).__name__}, wanted an object; rerun stage 0")
    return tree
