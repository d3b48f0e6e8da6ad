"""Stage 3: count tokens and write one memory-mapped table (manifest) per data set.

Reads dump/raw and the tokenizer of the LLM. Writes dump/manifest/<set>.arrow and packing.json, which has the fill rate
of the first epoch's packs. Stages 5 and 6 make the packs themselves while training. With --clips, training utterances
are joined and get silence around them; dev and test sets are never changed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="data directories of stage 2")
    options.add_argument("--out", type=Path, default=Path("dump/manifest"), help="output directory")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument(
        "--model", type=Path, required=True, help="model.yaml: names the LLM and sets the length of a pack"
    )
    options.add_argument(
        "--clips", type=Path, default=None, help="clips.yaml: training clips composed of utterances and silence"
    )

    options.add_argument("--nj", type=int, default=os.cpu_count(), help="largest number of processes")

    def step(given: argparse.Namespace) -> None:
        from zipperasr.batching.build_manifests import build_manifests
        from zipperasr.batching.clip_config import ClipConfig
        from zipperasr.model.model_config import ModelConfig

        config = load_yaml(ModelConfig, given.model)
        build_manifests(
            given.raw,
            given.out,
            languages=given.languages,
            llm=config.llm,
            load_tokenizer=lambda: _load_tokenizer(config.llm),
            max_positions=config.max_positions,
            clips=ClipConfig.load(given.clips),
            nj=given.nj,
        )

    return run_step(step, options.parse_args(argv), "stage 3")


def _load_tokenizer(llm: str) -> PreTrainedTokenizerBase:
    from zipperasr.model.backbones import load_tokenizer

    return load_tokenizer(llm)


if __name__ == "__main__":
    sys.exit(main())
