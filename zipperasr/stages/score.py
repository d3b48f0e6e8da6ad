"""Stage 8: score every test set of one or more decodings.

Reads <decode_dir>/<test set>/text and dump/raw. Writes <decode_dir>/scores.tsv and, below each test set,
score_{wer,cer}/ with ref.trn, hyp.trn, result.txt and audit.jsonl. Unit and normaliser are set in the language table.
With n-best lists (nbest.jsonl), oracle.tsv has the error rates of the best alternatives.
Languages whose transcripts contain combining marks are also scored with `whisper_marks`, in
score_{wer,cer}_whisper_marks. With --shard, several processes share the work; the result is the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zipperasr.cli import parser, run_step
from zipperasr.score.score_decodings import decodings_of, score_decodings
from zipperasr.score.score_shards import merge_shards, missing_shards, score_shard
from zipperasr.shards import MERGE, MISSING, OPTION_HELP, ShardJob, ranges


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument(
        "--exp", type=Path, nargs="*", default=[], help="training directories, whose decodings are all scored"
    )
    options.add_argument("--decode_dir", type=Path, nargs="*", default=[], help="decoding directories, <exp>/decode_*")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="output of stage 2")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--shard", metavar="K/N", help=OPTION_HELP)
    return run_step(_run, options.parse_args(argv), "stage 8")


def _run(options: argparse.Namespace) -> None:
    if not options.exp and not options.decode_dir:
        raise ValueError("nothing to score; pass training directories with --exp or decodings with --decode_dir")
    decode_dirs = [*options.decode_dir, *(path for exp in options.exp for path in decodings_of(exp))]
    inputs = {"raw": options.raw, "languages": options.languages}
    if options.shard is None:
        score_decodings(decode_dirs, **inputs)
        return
    job = ShardJob.parse(options.shard)
    if job.task == MISSING:
        print(ranges(missing_shards(decode_dirs, job.count, **inputs)))
    elif job.task == MERGE:
        merge_shards(decode_dirs, job.count, **inputs)
    else:
        score_shard(decode_dirs, int(job.task), job.count, **inputs)


if __name__ == "__main__":
    sys.exit(main())
