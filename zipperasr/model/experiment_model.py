"""Build the model of an experiment: for training, or from its checkpoint.

In: an `Experiment`, and the training directories it started from. Out: SpeechLLM. The order of loading: backbones, the
alignment's weights, the adaptation's, those of added languages.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch.nn import Parameter

from zipperasr.lora import VARIANTS, is_routed
from zipperasr.lora.router import router_options
from zipperasr.model.build import add_adapters, build_model, set_trainable
from zipperasr.model.checkpoint import EMBEDDINGS, load_parts, load_trained
from zipperasr.model.experiment import (
    CONFIG,
    INITIAL_PARTS,
    WEIGHTS,
    Experiment,
    located,
    weights_digest,
)
from zipperasr.model.new_language import check_embeddings, grow, start_banks, tune
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.training_chain import training_chain
from zipperasr.model.training_sizes import check_ranks
from zipperasr.model.weights_file import open_weights


def build_for_training(experiment: Experiment, dtype: torch.dtype, seed: int) -> SpeechLLM:
    """Build the initial model of a training, with parameters frozen by phase.

    dtype: precision of the frozen weights. Trained weights are float32, from which the optimiser takes its own copy.
    """
    if source := experiment.source:
        training_chain(Path(source))
    if experiment.added:
        model = _build_with_new_languages(experiment, dtype, seed)
    elif experiment.init_from:
        model = _load(Path(experiment.init_from), dtype)
        tune(model, experiment.trained)
    elif experiment.phase == "align":
        model = build_model(experiment.model, dtype, encoder_dtype=torch.float32)
    else:
        model = _load(Path(experiment.init), dtype)
        torch.manual_seed(seed)
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, experiment.lid)
    if not experiment.init_from:
        set_trainable(model, experiment.phase)
    if experiment.initial_b is not None:
        _start_from(model, experiment)
    _cast((parameter for parameter in model.parameters() if not parameter.requires_grad), dtype)
    return model


def _build_with_new_languages(experiment: Experiment, dtype: torch.dtype, seed: int) -> SpeechLLM:
    model = _load(Path(experiment.init_from), dtype)
    number, lid = len(experiment.added), experiment.lid
    routed = model.adapters.router is not None
    routed &= not experiment.model.encoder_lora.learns_embeddings(experiment.lora)
    if routed:
        check_embeddings(model, lid[:-number], experiment.init_from)
    torch.manual_seed(seed)
    grow(model, experiment.added, lid[-number:] if routed else None, experiment.trained)
    if experiment.bank_from is not None:
        start_banks(model, experiment.bank_from, lid)
    return model


def _start_from(model: SpeechLLM, experiment: Experiment) -> None:
    """Initial-B (paper, Sec. IV-F): copy B_shared, B_spec and other chosen parts from a converged soft model.

    Raises ValueError if either variant lacks these parameters, or if the router is copied between variants that
    interpret its p differently (see zipper_hard).
    """
    source = Experiment.load(experiment.initial_b)
    check_ranks(source, Path(experiment.initial_b) / WEIGHTS, str(Path(experiment.initial_b) / CONFIG))
    sources = VARIANTS[experiment.lora].initial_b_sources if experiment.lora in VARIANTS else ()
    if source.lora not in sources:
        possible = [name for name, variant in VARIANTS.items() if variant.initial_b_sources]
        wanted = ", ".join(f"{name} from {' or '.join(VARIANTS[name].initial_b_sources)}" for name in possible)
        raise ValueError(
            f"{experiment.initial_b}: Initial-B cannot initialise {experiment.lora} from "
            f"{source.lora or 'an alignment'}; it can initialise {wanted}"
        )
    options = router_options(experiment.model.encoder_lora.of(experiment.lora))
    theirs = router_options(source.model.encoder_lora.of(source.lora))
    copies_router = not {"router", "all"}.isdisjoint(experiment.initial_parts)
    if copies_router and options.share_is_specific != theirs.share_is_specific:
        raise ValueError(
            f"{experiment.initial_b}: Initial-B copies the router of {source.lora}, whose p is the share of the "
            f"language's own column, but {experiment.lora} uses p as the share of the shared one; {options.share_hint}"
        )
    endings = tuple(ending for part in experiment.initial_parts for ending in INITIAL_PARTS[part])
    if copies_router and (options.learned_embeddings or theirs.learned_embeddings):
        if options.learned_embeddings != theirs.learned_embeddings:
            raise ValueError(
                f"{experiment.initial_b}: learned_embeddings: got {options.learned_embeddings}, but the router to copy "
                f"has {theirs.learned_embeddings}; set the same in model.yaml"
            )
        endings += (EMBEDDINGS,)
    load_parts(model, Path(experiment.initial_b) / WEIGHTS, endings)


def load_model(directory: Path, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """Load the trained model of a directory strictly: no tensor may be missing, unexpected or misshapen."""
    training_chain(directory)
    model = _load(directory, dtype)
    _cast(model.parameters(), dtype)  # buffers keep their type, as in DeepSpeed
    return model


def _load(directory: Path, dtype: torch.dtype) -> SpeechLLM:
    """Like `load_model`, but with projector, LoRA and router in float32 and without checking the chain."""
    experiment = located(Experiment.load(directory), Path(directory))
    if experiment.init_from:
        model = _load_continued(experiment, directory, dtype)
    elif experiment.phase == "align":
        model = build_model(experiment.model, dtype)
        set_trainable(model, experiment.phase)
    else:
        model = _load(Path(experiment.init), dtype)
        lid = None
        if is_routed(experiment.lora):  # placeholders: the embeddings are loaded with the weights
            lid = torch.zeros(len(experiment.languages), _lid_width(directory))
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, lid)
        set_trainable(model, experiment.phase)
    load_trained(model, directory / WEIGHTS)
    return model


def _cast(parameters: Iterable[Parameter], dtype: torch.dtype) -> None:
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)


def _load_continued(experiment: Experiment, directory: Path, dtype: torch.dtype) -> SpeechLLM:
    """Load the model that was fine-tuned or that languages were added to. Raises ValueError if it was retrained since.

    With added languages, their banks are there but not loaded.
    """
    if weights_digest(experiment.init_from) != experiment.init_from_weights:
        what = f"{', '.join(experiment.added)} had been added to it" if experiment.added else "it had been fine-tuned"
        raise ValueError(f"{directory}: {experiment.init_from} was retrained after {what}; rerun stage 6 of this model")
    model = _load(Path(experiment.init_from), dtype)
    if not experiment.added:
        tune(model, experiment.trained)
        return model
    lid = None
    if model.adapters.router is not None:  # placeholders: the embeddings are loaded with the weights
        lid = torch.zeros(len(experiment.added), _lid_width(directory))
    grow(model, experiment.added, lid, experiment.trained)
    return model


def _lid_width(directory: Path) -> int:
    with open_weights(directory / WEIGHTS) as stream:
        shape = stream.get_slice("adapters.router.embeddings").get_shape()
    if len(shape) != 2:
        raise ValueError(f"{directory / WEIGHTS}: adapters.router.embeddings: got shape {shape}, wanted two dimensions")
    return shape[1]
