"""Number of parameters that each LoRA variant adds to the encoder of Whisper large-v3.

Input: conf/full/model.yaml. Output: a table in RESULTS.md. The model is built on the meta device, without weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from record import write_section
from shared_options import add_results

from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS
from zipperasr.markdown import table
from zipperasr.model.model_config import ModelConfig
from zipperasr.plan.parameters import build_phases, with_local_backbones

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
SOURCE_ONLY = "zh"  # Chinese is in the alignment data only: the paper adapts twelve languages


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument(
        "--model", type=Path, default=RECIPE / "conf" / "full" / "model.yaml", help="model configuration"
    )
    options.add_argument("--languages", type=Path, default=RECIPE / "conf" / "languages.tsv", help="language table")
    add_results(options)
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
    header = ["variant", "adapters", "router", "total", "relative to independent"]
    rank = config.encoder_lora.rank
    body = f"Trained parameters; rank {rank}, {len(codes)} languages, all linear layers of the encoder."
    write_section("Parameters at the paper's sizes", f"{body}\n\n{table(header, rows)}", options.results)


if __name__ == "__main__":
    sys.exit(main())
