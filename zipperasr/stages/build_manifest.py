"""Stage 3: count tokens and write one memory-mapped table per data set.

Reads dump/raw and the tokenizer of the LLM; writes dump/manifest/<set>.arrow and packing.json, the fill rate of the
first epoch.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zipperasr.batching.manifest import build_manifests
from zipperasr.cli import parser, run_step


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="stage 2's data directories")
    options.add_argument("--out", type=Path, default=Path("dump/manifest"), help="where the manifests go")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--model", type=Path, required=True, help="model.yaml: names the tokenizer, bounds the packs")
    return run_step(build_manifests, options.parse_args(argv), "zipperasr.stages.build_manifest")


if __name__ == "__main__":
    sys.exit(main())
