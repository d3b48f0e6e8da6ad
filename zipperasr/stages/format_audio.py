"""Stage 2: convert the audio of every data directory to 16 kHz mono, one entry per utterance.

Reads the data directories of stage 1 (any codec, sampling rate and number of channels). Writes dump/raw/<set>/ with
FLAC in arks (or one file per utterance), exact durations, and quarantine.tsv and filtered.tsv, which list the
utterances left out. With --shard, several processes share the work; the result is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from zipperasr.audio.convert import AUDIO_FORMATS
from zipperasr.audio.format_audio import FormatOptions, format_audio
from zipperasr.audio.format_shards import convert_shard, merge_shards, missing_shards
from zipperasr.cli import parser, run_step
from zipperasr.shards import MERGE, MISSING, OPTION_HELP, ShardJob, ranges


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=Path("data"), help="output directory of stage 1")
    options.add_argument("--out", type=Path, default=Path("dump/raw"), help="output directory")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="number of processes, without --shard")
    options.add_argument("--min_s", type=float, default=0.1, help="shortest training utterance, in seconds")
    options.add_argument("--max_s", type=float, default=30.0, help="longest training utterance, in seconds")
    options.add_argument(
        "--audio_format",
        default="flac.ark",
        choices=AUDIO_FORMATS,
        help="flac.ark: arks; flac: one file per utterance, needs espnet",
    )
    options.add_argument(
        "--max_quarantine_share",
        type=float,
        default=0.01,
        help="largest share of a set's utterances that may be unusable",
    )
    options.add_argument("--shard", metavar="K/N", help=OPTION_HELP)
    return run_step(_run, options.parse_args(argv), "stage 2")


def _run(given: argparse.Namespace) -> None:
    format_options = FormatOptions(given.nj, given.min_s, given.max_s, given.audio_format, given.max_quarantine_share)
    if given.shard is None:
        format_audio(given.data, given.out, format_options)
        return
    job = ShardJob.parse(given.shard)
    if job.task == MISSING:
        print(ranges(missing_shards(given.data, given.out, format_options, job.count)))
    elif job.task == MERGE:
        merge_shards(given.data, given.out, format_options, job.count)
    else:
        convert_shard(given.data, given.out, format_options, int(job.task), job.count)


if __name__ == "__main__":
    sys.exit(main())
