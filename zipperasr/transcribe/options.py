"""Options that `zipperasr transcribe`, `evaluate` and `serve` share: the model, and how it decodes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from zipperasr.cli import str2bool
from zipperasr.decode.decode_config import ENGINES, PRECISIONS, QUANTIZATIONS, DecodeConfig

DECODING = (
    *("precision", "quantize", "batch_size", "batch_positions", "tokens_per_s"),
    *("beam", "engine", "tensor_parallel", "cuda_graphs"),
)


def add_model(options: argparse.ArgumentParser) -> None:
    """Add --model."""
    options.add_argument(
        "--model", type=Path, required=True, help="training directory, or a bundle of `zipperasr export`"
    )


def add_decoding(options: argparse.ArgumentParser, defaults: DecodeConfig) -> None:
    """Add --device and the settings that `decoding_of` reads."""
    options.add_argument("--device", default=None, help="cpu or cuda; default: cuda if available")
    options.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of weights and activations")
    options.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        default=defaults.quantize,
        help="of the LLM's weights and the inputs of its linear layers; int8 is for CPUs",
    )
    options.add_argument(
        "--batch_size", type=int, default=defaults.batch_size, help="maximum number of segments in a batch"
    )
    options.add_argument(
        "--batch_positions", type=int, default=defaults.batch_positions, help="maximum number of positions in a batch"
    )
    options.add_argument("--tokens_per_s", type=float, default=defaults.tokens_per_s, help="maximum tokens per second")
    options.add_argument("--beam", type=int, default=defaults.beam, help="beam size; 1: greedy search, which is faster")
    options.add_argument(
        "--engine", choices=ENGINES, default=defaults.engine, help="of the search; vllm: needs tools/install_vllm.sh"
    )
    options.add_argument(
        "--tensor_parallel", type=int, default=defaults.tensor_parallel, help="engine vllm: GPUs that share the LLM"
    )
    options.add_argument(
        "--cuda_graphs",
        type=str2bool,
        default=defaults.cuda_graphs,
        help="replay the steps of greedy search as CUDA graphs (GPU only)",
    )


def add_nbest(options: argparse.ArgumentParser, defaults: DecodeConfig) -> None:
    """Add --nbest, which `decoding_of` reads."""
    options.add_argument(
        "--nbest", type=int, default=defaults.nbest, help="alternatives per segment, at most --beam; 1: none"
    )


def decoding_of(chosen: argparse.Namespace, defaults: DecodeConfig) -> DecodeConfig:
    """The decoding configuration that the options describe. Raises ValueError for values out of range."""
    return replace(defaults, **{name: value for name, value in vars(chosen).items() if name in (*DECODING, "nbest")})
