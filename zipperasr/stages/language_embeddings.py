"""Stage 4: language embeddings, the router's input, from Whisper's decoder.

Writes exp/lid/lid_{token,state}.{ark,scp} in Kaldi's form and their cosine similarities as tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zipperasr.cli import parser, run_step
from zipperasr.lid.embeddings import MODES, write_embeddings


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="model.yaml: names the Whisper model")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="stage 3's manifests")
    options.add_argument("--out", type=Path, default=Path("exp/lid"), help="where the embeddings go")
    options.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="which embeddings to compute")
    options.add_argument("--utterances", type=int, default=20, help="state: training utterances per language")
    options.add_argument("--seed", type=int, default=1, help="state: draws them")
    return run_step(write_embeddings, options.parse_args(argv), "zipperasr.stages.language_embeddings")


if __name__ == "__main__":
    sys.exit(main())
