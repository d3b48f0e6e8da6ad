"""Make backbones with random weights in the published shapes, with the published vocabularies.

In: conf/SCALE/random_backbones.yaml and the shapes it names. Out: <out>/whisper and <out>/llm in bfloat16, two
directories that transformers loads like the real ones. Their transcripts are random.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, Qwen3ForCausalLM, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration as Whisper

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.config import load_yaml
from zipperasr.model.published_tokenizers import write_qwen3_tokenizer, write_whisper_tokenizer
from zipperasr.sole_writer import sole_writer

SHAPES = {"whisper": "whisper-large-v3", "llm": "Qwen3-1.7B"}  # directories below `architectures`
DEPTHS = ("encoder_layers", "decoder_layers", "num_hidden_layers")  # what `depth` replaces
FULL = "full"


@dataclass(frozen=True)
class RandomBackbones:
    """random_backbones.yaml."""

    architectures: str  # directory of the published config.json files
    depth: int | str = FULL  # layers of each stack, or `full`
    seed: int = 1

    def __post_init__(self) -> None:
        if self.depth != FULL and not (isinstance(self.depth, int) and self.depth > 0):
            raise ValueError(f"depth: got {self.depth!r}, wanted a number of layers or {FULL}")


def make_random_backbones(path: Path, out: Path, depth: int | str | None = None) -> None:
    """Write both backbones that the YAML file `path` describes to `out`, unless they are there.

    Args:
        depth: overrides that of the file.

    Raises ValueError or FileNotFoundError if the vocabularies are not installed.
    """
    config = load_yaml(RandomBackbones, path, {} if depth is None else {"depth": depth})
    shapes = {name: Path(config.architectures) / shape for name, shape in SHAPES.items()}
    inputs = fingerprint(config=config, **{name: shape / "config.json" for name, shape in shapes.items()})
    if is_current(out, inputs):
        log(f"random backbones: {out} is up to date")
        return
    with sole_writer(out), atomic_path(out) as temporary:
        temporary.mkdir()
        write_whisper_tokenizer(temporary / "whisper")
        write_qwen3_tokenizer(temporary / "llm")
        torch.manual_seed(config.seed)
        for name, model_class in (("whisper", Whisper), ("llm", Qwen3ForCausalLM)):
            _write(model_class, shapes[name], config.depth, temporary / name)
        WhisperFeatureExtractor(feature_size=_bins(shapes["whisper"])).save_pretrained(temporary / "whisper")
        files = [str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file()]
        mark_current(temporary, inputs, files)
    log(f"random backbones of depth {config.depth}: {out}")


def _write(model_class: type[PreTrainedModel], shape: Path, depth: int | str, out: Path) -> None:
    """Save the model next to its tokenizer, with the published generation settings; zero the LLM's end tokens."""
    config = AutoConfig.from_pretrained(shape, trust_remote_code=False)
    if depth != FULL:
        for name in DEPTHS:
            if hasattr(config, name):
                setattr(config, name, depth)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    model = model_class._from_config(config, dtype=torch.bfloat16)
    generation = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    if model_class is Qwen3ForCausalLM:  # otherwise a few training steps teach it to end immediately
        with torch.no_grad():
            model.get_input_embeddings().weight[generation["eos_token_id"]] = 0
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(out)


def _bins(shape: Path) -> int:
    return AutoConfig.from_pretrained(shape, trust_remote_code=False).num_mel_bins
