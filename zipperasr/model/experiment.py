"""The configuration of a training, and how to build its model for training or from its checkpoint.

In: config.yaml and model.safetensors of a training, and of those it started from. Out: SpeechLLM. The chain: backbones,
then the alignment's weights, then the adaptation's, then those of added languages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.nn import Parameter

from zipperasr.atomic import atomic_path, fingerprint
from zipperasr.config import load_yaml, to_tree
from zipperasr.languages import MOST_LANGUAGES
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.lora.router import router_options
from zipperasr.model.build import PHASES, add_adapters, build_model, set_trainable
from zipperasr.model.bundle_paths import bundle_root, check_links, check_name, find_inside
from zipperasr.model.checkpoint import load_parts, load_trained
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.new_language import check_embeddings, grow, start_banks
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.training_sizes import check_ranks, check_training_size
from zipperasr.model.weights_file import open_weights
from zipperasr.yaml_text import shown

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
LONGEST_CHAIN = 16  # trainings that each start from the one before
LANGUAGES = "languages.tsv"  # the lines of the language table that the model was trained with
INITIAL_PARTS = {  # the endings of their tensors' names
    "b": (".b_shared", ".b_specific"),
    "a": (".a",),  # not in the paper: it speaks of B, which was trained under one A and starts here under another
    "router": ("router.weight", "router.bias", "router.norm_weight", "router.norm_bias"),
    "all": ("",),  # projector and LLM LoRA too: the same training goes on, with a schedule of its own
}


@dataclass(frozen=True)
class Experiment:
    """One training: the content of its config.yaml."""

    phase: str  # align | sft
    regime: str  # chunked | full
    lora: str | None  # the encoder's variant; sft only
    init: str | None  # training directory this one started from; sft only
    languages: tuple[str, ...]  # banks, by code
    seed: int
    model: ModelConfig
    initial_b: str | None = None  # training directory that B starts from (Initial-B); sft only
    initial_parts: tuple[str, ...] = ()  # what is taken from it: see INITIAL_PARTS
    lid: Tensor | None = field(default=None, compare=False)  # (languages, d_lid); stored with the weights
    init_from: str | None = None  # training directory of the trained system that languages were added to
    init_from_weights: str | None = None  # digest of its weights
    added: tuple[str, ...] = ()  # those languages, the last of `languages`
    bank_from: str | None = None  # what their banks started from: nearest | shared | zero
    trained: tuple[str, ...] = ()  # what trained then: see PARTS in new_language.py

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(f"phase: got {shown(self.phase)}, wanted {' or '.join(PHASES)}")
        if self.lora is not None:
            variant_class(self.lora)
        if len(self.languages) > MOST_LANGUAGES:
            raise ValueError(f"languages: got {len(self.languages):,}, wanted at most {MOST_LANGUAGES:,}")

    @property
    def source(self) -> str | None:
        """The training whose model this one started from."""
        return self.init_from if self.added else self.init

    @classmethod
    def load(cls, directory: str | Path) -> Experiment:
        """Read <directory>/config.yaml. Raises FileNotFoundError if no training has finished there."""
        directory = Path(directory)
        if root := bundle_root(directory):
            check_links(root)
        for name in (CONFIG, WEIGHTS):
            if not (directory / name).is_file():
                raise FileNotFoundError(
                    f"{directory / name}: no finished training here; run stage 5 (align) or 6 (sft)"
                )
        return load_yaml(cls, directory / CONFIG, bases=False)

    def to_tree(self) -> dict:
        """The content of config.yaml. Options of other variants are left out: this training does not depend on them."""
        tree = to_tree(replace(self, lid=None))
        lora = tree["model"]["encoder_lora"]
        tree["model"]["encoder_lora"] = {key: lora[key] for key in ("rank", "alpha", self.lora) if key in lora}
        return tree

    def to_yaml(self) -> str:
        """What config.yaml holds."""
        return yaml.safe_dump(self.to_tree(), sort_keys=False)

    def save(self, directory: Path) -> None:
        with atomic_path(directory / CONFIG) as temporary:
            temporary.write_text(self.to_yaml(), encoding="utf-8")


def build_for_training(experiment: Experiment, dtype: torch.dtype, seed: int) -> SpeechLLM:
    """Build the model that a training starts from, frozen by phase.

    dtype: of the frozen weights, the precision of the training. What trains is float32: the optimiser starts from it.
    """
    if source := experiment.source:
        training_chain(Path(source))
    if experiment.added:
        model = _build_with_new_languages(experiment, dtype, seed)
    elif experiment.phase == "align":
        model = build_model(experiment.model, dtype, encoder_dtype=torch.float32)
    else:
        model = _load(Path(experiment.init), dtype)
        torch.manual_seed(seed)
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, experiment.lid)
    if not experiment.added:
        set_trainable(model, experiment.phase)
    if experiment.initial_b is not None:
        _start_from(model, experiment)
    _cast((parameter for parameter in model.parameters() if not parameter.requires_grad), dtype)
    return model


def _build_with_new_languages(experiment: Experiment, dtype: torch.dtype, seed: int) -> SpeechLLM:
    model = _load(Path(experiment.init_from), dtype)
    number, lid = len(experiment.added), experiment.lid
    routed = model.adapters.router is not None
    if routed:
        check_embeddings(model, lid[:-number], experiment.init_from)
    torch.manual_seed(seed)
    grow(model, experiment.added, lid[-number:] if routed else None, experiment.trained)
    if experiment.bank_from is not None:
        start_banks(model, experiment.bank_from, lid)
    return model


def _start_from(model: SpeechLLM, experiment: Experiment) -> None:
    """Initial-B (paper, Sec. IV-F): B_shared, B_spec and what else is asked for come from a converged soft run.

    Raises ValueError if either side has no such banks, or if zipper_hard would read the router the other way round.
    """
    source = Experiment.load(experiment.initial_b)
    check_ranks(source, Path(experiment.initial_b) / WEIGHTS, str(Path(experiment.initial_b) / CONFIG))
    sources = variant_class(experiment.lora).initial_b_sources
    if source.lora not in sources:
        possible = [name for name, variant in VARIANTS.items() if variant.initial_b_sources]
        wanted = ", ".join(f"{name} from {' or '.join(VARIANTS[name].initial_b_sources)}" for name in possible)
        raise ValueError(
            f"{experiment.initial_b}: Initial-B cannot start {experiment.lora} from {source.lora}; it starts {wanted}"
        )
    options = router_options(experiment.model.encoder_lora.of(experiment.lora))
    theirs = router_options(source.model.encoder_lora.of(source.lora))
    if "router" in experiment.initial_parts and options.share_is_specific != theirs.share_is_specific:
        raise ValueError(
            f"Initial-B of {experiment.lora} with the router: in {source.lora}, p is the share of the language's own "
            f"column; {options.share_hint}"
        )
    endings = tuple(ending for part in experiment.initial_parts for ending in INITIAL_PARTS[part])
    load_parts(model, Path(experiment.initial_b) / WEIGHTS, endings)


def load_model(directory: Path, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """The trained model of a directory, strictly: every tensor must fit, none may be missing."""
    training_chain(directory)
    model = _load(directory, dtype)
    _cast(model.parameters(), dtype)  # buffers stay as they are, as in DeepSpeed
    return model


def _load(directory: Path, dtype: torch.dtype) -> SpeechLLM:
    """The same with backbones in `dtype`, and projector, LoRA and router in float32."""
    experiment = located(Experiment.load(directory), Path(directory))
    if experiment.added:
        model = _load_with_new_languages(experiment, directory, dtype)
    elif experiment.phase == "align":
        model = build_model(experiment.model, dtype)
        set_trainable(model, experiment.phase)
    else:
        model = _load(Path(experiment.init), dtype)
        lid = None
        if variant_class(experiment.lora).routed:  # the embeddings themselves come with the weights
            lid = torch.zeros(len(experiment.languages), _lid_width(directory))
        add_adapters(model, experiment.model, experiment.lora, experiment.languages, lid)
        set_trainable(model, experiment.phase)
    load_trained(model, directory / WEIGHTS)
    return model


def _cast(parameters: Iterable[Parameter], dtype: torch.dtype) -> None:
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)


def _load_with_new_languages(experiment: Experiment, directory: Path, dtype: torch.dtype) -> SpeechLLM:
    """The trained model extended by the new languages. Raises ValueError if it has been retrained since."""
    if weights_digest(experiment.init_from) != experiment.init_from_weights:
        raise ValueError(
            f"{directory}: {experiment.init_from} was retrained after {', '.join(experiment.added)} had been "
            "added; rerun stage 6 for the added languages"
        )
    model = _load(Path(experiment.init_from), dtype)
    lid = None
    if model.adapters.router is not None:  # the embeddings themselves come with the weights
        lid = torch.zeros(len(experiment.added), _lid_width(directory))
    grow(model, experiment.added, lid, experiment.trained)
    return model


def weights_digest(directory: str | Path) -> str:
    """A short digest of a training's weights."""
    return fingerprint(weights=Path(directory) / WEIGHTS)["weights"]


def training_chain(directory: Path) -> list[tuple[Path, Experiment]]:
    """The training and those it started from, the newest first, with paths that hold here.

    Raises ValueError if a training starts from itself, directly or through others, or has weights of other sizes.
    """
    chain = [(directory, located(Experiment.load(directory), directory))]
    seen = {directory.resolve()}
    while source := chain[-1][1].source:
        last, directory = chain[-1][0], Path(source)
        if directory.resolve() in seen or len(chain) == LONGEST_CHAIN:
            raise ValueError(
                f"{last / CONFIG}: starts from {directory}, and that from others in a circle; correct init"
            )
        seen.add(directory.resolve())
        chain.append((directory, located(Experiment.load(directory), directory)))
    backbones = chain[-1][1].model
    for directory, experiment in chain:
        check_training_size(experiment, backbones, directory / WEIGHTS, str(directory / CONFIG))
    return chain


def located(experiment: Experiment, directory: Path) -> Experiment:
    """The experiment of `directory` with paths that hold where we are; what is no path (a hub id) stays.

    config.yaml has them relative to the recipe, which is above the training directory or here, or, in a bundle, to the
    training directory itself, outside of which nothing of it is looked for.
    Raises ValueError if a bundle names anything else.
    """
    if root := bundle_root(directory):
        return _located_in_bundle(experiment, Path(directory), root)

    def found(path: str | None) -> str | None:
        if path is None or Path(path).is_absolute():
            return path
        places = (directory.resolve(), *directory.resolve().parents, Path())
        return next((str(place / path) for place in places if (place / path).exists()), path)

    model = replace(experiment.model, whisper=found(experiment.model.whisper), llm=found(experiment.model.llm))
    trainings = {name: found(getattr(experiment, name)) for name in ("init", "initial_b", "init_from")}
    return replace(experiment, model=model, **trainings)


def _located_in_bundle(experiment: Experiment, directory: Path, root: Path) -> Experiment:
    """initial_b is not needed again: in a bundle it is a remark, and no path."""
    backbones = {
        name: find_inside(getattr(experiment.model, name), directory, root, hub_id=True) for name in ("whisper", "llm")
    }
    starts = {name: getattr(experiment, name) for name in ("init", "init_from")}
    trainings = {name: start and find_inside(start, directory, root) for name, start in starts.items()}
    check_name(experiment.initial_b, str(directory / CONFIG))
    return replace(experiment, model=replace(experiment.model, **backbones), **trainings)


def _lid_width(directory: Path) -> int:
    with open_weights(directory / WEIGHTS) as stream:
        shape = stream.get_slice("adapters.router.embeddings").get_shape()
    if len(shape) != 2:
        raise ValueError(f"{directory / WEIGHTS}: adapters.router.embeddings: got shape {shape}, wanted two dimensions")
    return shape[1]
