"""The configuration of a training.

In: a training directory with config.yaml and model.safetensors. Out: `Experiment`, with paths that exist on this
machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from torch import Tensor

from zipperasr.atomic import atomic_path, fingerprint
from zipperasr.config import load_yaml, to_tree
from zipperasr.languages import MOST_LANGUAGES
from zipperasr.lora import check_lora
from zipperasr.model.bundle_paths import bundle_root, check_links, check_name, find_inside
from zipperasr.model.model_config import ModelConfig
from zipperasr.prepare.dataset_table import PHASES
from zipperasr.ranges import POSITIVE, check_ranges
from zipperasr.yaml_text import shown

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
LANGUAGES = "languages.tsv"  # the part of the language table that the model was trained with
INITIAL_PARTS = {  # suffixes of tensor names
    "b": (".b_shared", ".b_specific"),
    "a": (".a",),  # not in the paper, which copies only B: B then starts with another A than it was trained with
    "router": ("router.weight", "router.bias", "router.norm_weight", "router.norm_bias"),
    "all": ("",),  # projector and LLM LoRA too: continues the training with a new schedule
}


@dataclass(frozen=True)
class Experiment:
    """Configuration of one training, as stored in its config.yaml."""

    phase: str  # align | sft
    regime: str  # chunked | full
    lora: str | None  # LoRA variant of the encoder, or NO_LORA; sft only
    init: str | None  # directory of the alignment it started from; sft only
    languages: tuple[str, ...]  # language codes, in the order of the banks
    seed: int
    model: ModelConfig
    initial_b: str | None = None  # training directory to initialise B from (Initial-B); sft only
    initial_parts: tuple[str, ...] = ()  # parameters to copy from it: see INITIAL_PARTS
    lid: Tensor | None = field(default=None, compare=False)  # (languages, d_lid); stored with the weights
    init_from: str | None = None  # training directory of the model that was extended or fine-tuned
    init_from_weights: str | None = None  # digest of its weights
    added: tuple[str, ...] = ()  # the added languages, at the end of `languages`
    bank_from: str | None = None  # initial value of their banks: nearest | shared | zero
    trained: tuple[str, ...] = ()  # parts trained from init_from on: see PARTS in trained_parts.py
    longest_s: float | None = None  # longest training clips; recordings are cut into pieces of at most this length

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(f"phase: got {shown(self.phase)}, wanted {' or '.join(PHASES)}")
        if self.lora is not None:
            check_lora(self.lora)
        check_ranges(self, {"longest_s": POSITIVE})
        if len(self.languages) > MOST_LANGUAGES:
            raise ValueError(f"languages: got {len(self.languages):,}, wanted at most {MOST_LANGUAGES:,}")

    @property
    def source(self) -> str | None:
        """Directory of the training whose model this one started from."""
        return self.init_from or self.init

    @classmethod
    def load(cls, directory: str | Path) -> Experiment:
        """Read <directory>/config.yaml. Raises FileNotFoundError if the directory has no finished training."""
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
        if self.model.lid_whisper is None:
            del tree["model"]["lid_whisper"]
        lora = tree["model"]["encoder_lora"]
        tree["model"]["encoder_lora"] = {key: lora[key] for key in ("rank", "alpha", self.lora) if key in lora}
        return tree

    def to_yaml(self) -> str:
        """Content of config.yaml."""
        return yaml.safe_dump(self.to_tree(), sort_keys=False)

    def save(self, directory: Path) -> None:
        """Write <directory>/config.yaml."""
        with atomic_path(directory / CONFIG) as temporary:
            temporary.write_text(self.to_yaml(), encoding="utf-8")


def weights_digest(directory: str | Path) -> str:
    """Short digest of a training's weights."""
    return fingerprint(weights=Path(directory) / WEIGHTS)["weights"]


def located(experiment: Experiment, directory: Path) -> Experiment:
    """Return the experiment of `directory` with paths that exist on this machine; hub ids are unchanged.

    Paths in config.yaml are relative to the recipe's directory, which is a parent of the training directory or the
    current directory. In a bundle they are relative to the training directory, and only the bundle is searched.
    Raises ValueError if a bundle names a path outside itself.
    """
    if root := bundle_root(directory):
        return _located_in_bundle(experiment, Path(directory), root)

    def found(path: str | None) -> str | None:
        if path is None or Path(path).is_absolute():
            return path
        places = (directory.resolve(), *directory.resolve().parents, Path())
        return next((str(place / path) for place in places if (place / path).exists()), path)

    backbones = {name: found(getattr(experiment.model, name)) for name in ("whisper", "llm", "lid_whisper")}
    trainings = {name: found(getattr(experiment, name)) for name in ("init", "initial_b", "init_from")}
    return replace(experiment, model=replace(experiment.model, **backbones), **trainings)


def _located_in_bundle(experiment: Experiment, directory: Path, root: Path) -> Experiment:
    """`located` for a bundle, in which initial_b only says where B came from and is not resolved."""
    paths = {name: getattr(experiment.model, name) for name in ("whisper", "llm", "lid_whisper")}
    backbones = {name: path and find_inside(path, directory, root, hub_id=True) for name, path in paths.items()}
    starts = {name: getattr(experiment, name) for name in ("init", "init_from")}
    trainings = {name: start and find_inside(start, directory, root) for name, start in starts.items()}
    check_name(experiment.initial_b, str(directory / CONFIG))
    return replace(experiment, model=replace(experiment.model, **backbones), **trainings)
