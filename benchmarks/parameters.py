"""Parameters that each variant adds to Whisper large-v3's encoder, counted in the built model.

In: conf/full/model.yaml. Out: a table in RESULTS.md. The model is built on the meta device: shapes without weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from record import RESULTS, write_section

from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS
from zipperasr.markdown import table
from zipperasr.model.model_config import ModelConfig
from zipperasr.plan.parameters import build_phases, with_local_backbones

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
SOURCE_ONLY = "zh"  # heard in stage 1 only: the paper's banks are twelve


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, default=RECIPE / "conf" / "full" / "model.yaml", help="model.yaml")
    options.add_argument("--languages", type=Path, default=RECIPE / "conf" / "languages.tsv", help="language table")
    options.add_argument("--results", type=Path, default=RESULTS, help="the page to write a section of")
    return run_step(_run, options.parse_args(argv), "benchmarks.parameters")


def _run(options: argparse.Namespace) -> None:
    config = with_local_backbones(load_yaml(ModelConfig, options.model), options.model)
    codes = [code for code in LanguageTable.load(options.languages).codes if code != SOURCE_ONLY]
    sizes = {}
    for variant in VARIANTS:
        parts = build_phases(config, variant, codes)[1]["sft"].parts
        sizes[variant] = (parts["encoder LoRA"].trained, parts["encoder router"].trained)
    independent = sum(sizes["independent"])
    too_large = [v for v in VARIANTS if v.startswith("zipper") and sum(sizes[v]) >= independent]
    if too_large:
        raise ValueError(f"{', '.join(too_large)}: more parameters than independent's {independent:,}")
    rows = [
        [
            variant,
            f"{lora:,}",
            f"{router:,}" if router else "–",
            f"{lora + router:,}",
            f"{(lora + router) / independent:.2f}",
        ]
        for variant, (lora, router) in sizes.items()
    ]
    header = ["variant", "adapters", "router", "both", "of independent's"]
    body = f"Trained; rank {config.encoder_lora.rank}, {len(codes)} languages, all linear layers of the encoder."
    write_section("Parameters at the paper's sizes", f"{body}\n\n{table(header, rows)}", options.results)


if __name__ == "__main__":
    sys.exit(main())
