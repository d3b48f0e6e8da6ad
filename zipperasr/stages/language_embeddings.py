"""Stage 4: language embeddings for the router, from Whisper's decoder.

Writes exp/lid/lid_{token,state}.{ark,scp} in Kaldi's format, and tables of their cosine similarities.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zipperasr.cli import parser, run_step
from zipperasr.lid.embeddings import EmbeddingJob, write_embeddings
from zipperasr.lid.stored_embeddings import MODES


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="model.yaml; names the Whisper model")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="manifests of stage 3")
    options.add_argument("--out", type=Path, default=Path("exp/lid"), help="output directory")
    options.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="kinds of embeddings to compute")
    options.add_argument("--utterances", type=int, default=20, help="state: training utterances per language")
    options.add_argument("--seed", type=int, default=1, help="state: random seed of this selection")
    values = vars(options.parse_args(argv))
    job = EmbeddingJob(**{**values, "modes": tuple(values["modes"])})
    return run_step(write_embeddings, job, "stage 4")


if __name__ == "__main__":
    sys.exit(main())
