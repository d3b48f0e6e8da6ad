"""Stages 5 and 6: alignment, or adaptation to the target languages.

Reads manifests, the configuration of the phase, and the backbones (alignment) or the model of stage 5 (adaptation).
Writes a training directory with config.yaml, run.json, model.safetensors (trained weights only) and the curves. Runs
alone, under torchrun or under DeepSpeed's launcher. An interrupted training resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zipperasr.audio.segments import REGIMES
from zipperasr.cli import parser, run_step
from zipperasr.lid.stored_embeddings import MODES
from zipperasr.lora import LORA_CHOICES
from zipperasr.model.experiment import INITIAL_PARTS
from zipperasr.model.trained_parts import BANK, OF_THE_LANGUAGE, OWN_PROJECTOR, PARTS
from zipperasr.plan.flops import batch_flops
from zipperasr.prepare.dataset_table import PHASES
from zipperasr.train.continuation import Continuation
from zipperasr.train.request import TrainingRequest
from zipperasr.train.run_request import run_request


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument(
        "--phase", choices=PHASES, required=True, help="align: alignment (stage 5); sft: adaptation (stage 6)"
    )
    options.add_argument("--model", type=Path, default=None, help="model.yaml; not with --init_from")
    options.add_argument("--config", type=Path, required=True, help="align.yaml or sft.yaml")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="output directory of stage 3")
    options.add_argument(
        "--regime",
        choices=REGIMES,
        default=None,
        help="encoder context; default: chunked, or that of the model of --init_from",
    )
    options.add_argument("--lora", default=None, help=f"sft: LoRA of the encoder: {', '.join(LORA_CHOICES)}")
    options.add_argument("--lid", type=Path, default=Path("exp/lid"), help="sft: output directory of stage 4")
    options.add_argument("--lid_mode", choices=MODES, default="token", help="sft: kind of language embeddings")
    options.add_argument("--init", type=Path, default=None, help="sft: training directory of stage 5")
    options.add_argument("--initial_b", type=Path, default=None, help="sft: zipper_soft training to initialise B from")
    options.add_argument(
        "--initial_parts",
        nargs="+",
        choices=tuple(INITIAL_PARTS),
        default=["b"],
        help="sft: weights to copy from --initial_b",
    )
    add_continuation_options(options)
    options.add_argument("--out", type=Path, required=True, help="training directory")
    options.add_argument("--seed", type=int, default=1, help="random seed")
    options.add_argument(
        "--setting", default="1h", help="training hours per low-resource language (1h or 30h), recorded in run.json"
    )
    options.add_argument("--tag", default="", help="the recipe's --tag, recorded in run.json")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that override --config")
    options.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # set by DeepSpeed's launcher
    chosen = options.parse_args(argv)
    request = _request(chosen)
    return run_step(lambda _: run_request(request, batch_flops), chosen, f"stage {5 + PHASES.index(request.phase)}")


def add_continuation_options(options: argparse.ArgumentParser) -> None:
    """Options for continuing from a trained model, shared with preflight."""
    options.add_argument("--init_from", type=Path, default=None, help="trained model to fine-tune or to extend")
    options.add_argument(
        "--add_lang", nargs="*", default=[], metavar="CODE", help="languages to add to it; default: none, fine-tune it"
    )
    options.add_argument(
        "--bank_from",
        default="nearest",
        help="initial weights of a new bank: nearest (copy the bank of the most similar language), shared or zero",
    )
    options.add_argument(
        "--train_parts",
        nargs="*",
        default=[],
        metavar="PART",
        help=f"parts to train: {', '.join(PARTS)}, or all, which is all but {OWN_PROJECTOR}; default: "
        f"{' '.join(OF_THE_LANGUAGE)} for added languages, {BANK} in fine-tuning",
    )


def continuation(chosen: argparse.Namespace) -> Continuation:
    """What `add_continuation_options` parsed."""
    return Continuation(chosen.init_from, tuple(chosen.add_lang), chosen.bank_from, tuple(chosen.train_parts))


def _request(chosen: argparse.Namespace) -> TrainingRequest:
    return TrainingRequest(
        phase=chosen.phase,
        config=chosen.config,
        languages=chosen.languages,
        manifest=chosen.manifest,
        out=chosen.out,
        seed=chosen.seed,
        overrides=tuple(chosen.set),
        model=chosen.model,
        regime=chosen.regime,
        lora=chosen.lora,
        lid=chosen.lid,
        lid_mode=chosen.lid_mode,
        init=chosen.init,
        initial_b=chosen.initial_b,
        initial_parts=tuple(chosen.initial_parts),
        continuation=continuation(chosen),
        setting=chosen.setting,
        tag=chosen.tag,
    )


if __name__ == "__main__":
    sys.exit(main())
