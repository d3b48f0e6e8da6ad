"""Write imported weights as a training directory.

In: the alignment or model.yaml, languages, tensors. Out: config.yaml, model.safetensors and languages.tsv, as written
by stages 5 and 6, for decoding, Initial-B and export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from zipperasr.atomic import atomic_path
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.lora import check_lora
from zipperasr.model.build import add_adapters, build_empty_model, empty_embeddings, set_trainable
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import LANGUAGES, WEIGHTS, Experiment, located
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM


def adaptation_of(alignment: Path, lora: str, table: LanguageTable, seed: int) -> Experiment:
    """The experiment of an adaptation (stage 6) of the alignment in a directory. Raises ValueError."""
    check_lora(lora)
    aligned = located(Experiment.load(alignment), alignment)
    if aligned.phase != "align":
        raise ValueError(f"{alignment}: got phase {aligned.phase}, wanted an alignment (stage 5)")
    return Experiment(
        phase="sft",
        regime=aligned.regime,
        lora=lora,
        init=str(alignment),
        languages=tuple(table.codes),
        seed=seed,
        model=aligned.model,
        longest_s=aligned.longest_s,
    )


def alignment_of(model_yaml: Path, regime: str, table: LanguageTable, seed: int) -> Experiment:
    """The experiment of an alignment (stage 5) of the backbones in model.yaml."""
    return Experiment("align", regime, None, None, tuple(table.codes), seed, load_yaml(ModelConfig, model_yaml))


def empty_model(experiment: Experiment) -> SpeechLLM:
    """Build the experiment's model on the meta device, for names and shapes."""
    model = build_empty_model(experiment.model)
    if experiment.phase == "sft":
        lid = empty_embeddings(experiment.model, experiment.lora, len(experiment.languages))
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, lid)
    set_trainable(model, experiment.phase)
    return model


def write_training(
    out: Path, experiment: Experiment, model: SpeechLLM, table: LanguageTable, tensors: Mapping[str, Tensor] | None
) -> None:
    """Write the training directory `out`, which must not exist. tensors: its weights; None: those of the model."""
    backbones = {name: getattr(experiment.model, name) for name in ("whisper", "llm", "lid_whisper")}
    paths = {name: path and _portable(path, out) for name, path in backbones.items()}
    init = experiment.init and _portable(experiment.init, out)
    kept = replace(experiment, model=replace(experiment.model, **paths), init=init)
    with atomic_path(out) as temporary:
        temporary.mkdir()
        kept.save(temporary)
        table.save(temporary / LANGUAGES)
        save_trained(model, temporary / WEIGHTS, tensors)


def _portable(path: str, out: Path) -> str:
    """Make a path relative to the recipe if both it and `out` are inside, otherwise absolute; keep a hub id."""
    if not Path(path).exists():
        return path
    target = Path(path).resolve()
    for place in reversed(out.resolve().parents[:2]):
        if place != Path(place.anchor) and target.is_relative_to(place):
            return str(target.relative_to(place))
    return str(target)
