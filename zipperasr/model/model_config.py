"""Configuration of a model: the keys of conf/*/model.yaml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zipperasr.audio.segments import EDGE_FRAMES, segment_frames
from zipperasr.cli import nearest, shortened
from zipperasr.config import build, from_tree
from zipperasr.lora import default_options, variant_class
from zipperasr.lora.base import WRITTEN_IF_SET, Options
from zipperasr.lora.router import RouterOptions
from zipperasr.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Range, check_ranges
from zipperasr.yaml_text import shown

LONGEST_CHUNK_S = 30.0  # Whisper has no positions beyond
RANGES = {
    **dict.fromkeys(("mel_bins", "projector_dim", "max_positions"), COUNT),
    **dict.fromkeys(("train_chunk_s", "decode_chunk_s"), Range(0, LONGEST_CHUNK_S, above=True)),
    "lid_window_s": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class LoraConfig:
    """Rank and scaling of a LoRA."""

    rank: int = 32  # paper
    alpha: float = 64.0  # paper

    def __post_init__(self) -> None:
        check_ranges(self, {"rank": COUNT, "alpha": POSITIVE})


@dataclass(frozen=True)
class EncoderLoraConfig(LoraConfig):
    """LoRA of the encoder, with the options of each variant.

    In YAML the options are nested under the variant's name: `{rank: 32, alpha: 64, flylora: {top_k: 8}}`.
    """

    options: Mapping[str, Options] = field(default_factory=dict)  # by variant; completed with the defaults

    def __post_init__(self) -> None:
        super().__post_init__()
        for variant, options in self.options.items():
            try:
                options.check_rank(self.rank)
            except ValueError as error:
                raise ValueError(f"{variant}: {error}") from error
        object.__setattr__(self, "options", {**default_options(), **self.options})

    @classmethod
    def read_tree(cls, tree: dict[str, Any], where: str) -> EncoderLoraConfig:
        """Read the YAML form, including that of earlier releases, without the variant's name (`fly_top_k: 8`)."""
        plain = _with_nested_options(tree, where)
        known = default_options()
        options = {
            variant: from_tree(type(known[variant]), plain.pop(variant), f"{where}: {variant}")
            for variant in known
            if variant in plain
        }
        if unknown := sorted(map(str, plain.keys() - {"rank", "alpha"})):
            raise ValueError(
                f"{where}: unknown key {shown(unknown[0])}; {nearest(shortened(unknown[0]), ['rank', 'alpha', *known])}"
            )
        return build(cls, {**plain, "options": {}}, where).with_options(options, where)

    def write_tree(self) -> dict[str, Any]:
        """The YAML form."""
        options = {variant: _written(options) for variant, options in self.options.items()}
        return {"rank": self.rank, "alpha": self.alpha, **options}

    def of(self, variant: str) -> Options:
        """The options of one variant."""
        return self.options.get(variant) or variant_class(variant).options_class()

    def learns_embeddings(self, variant: str) -> bool:
        """Whether the variant has a router that learns its language embeddings, so that it needs none of stage 4."""
        options = self.options.get(variant)
        return isinstance(options, RouterOptions) and options.learned_embeddings > 0

    def with_options(self, options: Mapping[str, Options], where: str = "encoder_lora") -> EncoderLoraConfig:
        """Return a copy with other options for the given variants. Raises ValueError if they do not fit the rank."""
        try:
            return dataclasses.replace(self, options={**self.options, **options})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _written(options: Options) -> dict[str, Any]:
    """The options as a tree; newer ones only if they are set, so that trees of earlier releases stay the same."""
    left_out = {f.name: f.default for f in dataclasses.fields(options) if f.metadata.get(WRITTEN_IF_SET)}
    tree = dataclasses.asdict(options)
    return {name: value for name, value in tree.items() if name not in left_out or value != left_out[name]}


def _with_nested_options(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """Move options of the earlier form, directly below encoder_lora, to their variants."""
    nested = dict(tree)
    for variant, defaults in default_options().items():
        for old, name in defaults.old_keys.items():
            if old not in tree:
                continue
            given = nested.setdefault(variant, {})
            if not isinstance(given, dict) or name in given:
                raise ValueError(f"{where}: {old} is the old name of {variant}.{name}; remove {old}")
            nested[variant] = {**given, name: tree[old]}
    old_keys = {old for defaults in default_options().values() for old in defaults.old_keys}
    return {key: value for key, value in nested.items() if key not in old_keys}


@dataclass(frozen=True)
class ModelConfig:
    """Backbones, adapters, and how utterances are cut for the encoder."""

    whisper: str  # local directory or hub id of the encoder, such as a Whisper model
    llm: str  # local directory or hub id of the LLM
    mel_bins: int = 128  # Whisper large-v3
    projector_dim: int | None = None  # hidden width of the projector; None: the LLM's width (not in the paper)
    encoder_lora: EncoderLoraConfig = field(default_factory=EncoderLoraConfig)
    llm_lora: LoraConfig = field(default_factory=LoraConfig)
    train_chunk_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # paper; one is drawn per step
    decode_chunk_s: float = 8.0  # paper
    lid_window_s: float = 30.0  # pad speech to this for language detection, as in Whisper's training; 0: no padding
    max_positions: int = 2048  # paper; longest pack: speech, text and prompt
    checkpointing: bool = False  # recompute activations in the backward pass
    trim_silence: bool = False  # remove silence before and after the speech, in training and in use; not in the paper
    pad_to_30s: bool = False  # pad every segment with silence, as in Whisper's training, and cut the output back
    lid_whisper: str | None = None  # Whisper for language embeddings and language detection; None: `whisper`

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        if not self.train_chunk_s:
            raise ValueError("train_chunk_s: got an empty list, wanted at least one chunk length in seconds")
        for chunk_s in (*self.train_chunk_s, self.decode_chunk_s):
            segment_frames(chunk_s)

    @property
    def languages_from(self) -> str:
        """The pretrained model for language embeddings and language detection."""
        return self.lid_whisper or self.whisper

    @property
    def edge_frames(self) -> int:
        """Number of mel frames after the end of an utterance, in which speech fades into the padding."""
        return EDGE_FRAMES if self.pad_to_30s else 0
