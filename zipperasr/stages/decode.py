"""Stage 7: decode the test sets with trained models.

Reads training directories and manifests. Writes <exp>/decode_<search>_<regime>/ with run.json and, for each test set,
text, rtf.json, encoder_means.ark and, with nbest > 1, nbest.jsonl. A model of stage 5 decodes the test sets of its own
phase, a model of stage 6 all. With --shard, several processes share the work; the result is the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.audio.segments import REGIMES
from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.decode.decode_config import ALIGNMENT_SETS, DecodeConfig
from zipperasr.shards import MERGE, MISSING, OPTION_HELP, ShardJob, ranges

if TYPE_CHECKING:
    from zipperasr.decode.decode_experiment import DecodingTask


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, nargs="+", required=True, help="training directories")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="output of stage 3")
    options.add_argument("--config", type=Path, required=True, help="decode.yaml")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--regime", choices=REGIMES, help="encoder context; default: as the model was trained")
    options.add_argument("--sets", nargs="*", help="test sets; default: those of the model's phase")
    options.add_argument("--lang", nargs="*", default=[], metavar="CODE", help="decode only sets in these languages")
    options.add_argument(
        "--alignment_sets",
        choices=ALIGNMENT_SETS,
        default=ALIGNMENT_SETS[0],
        help="test sets of an alignment: its own, or those of the adaptation too",
    )
    options.add_argument(
        "--inference_tag", default="", metavar="SUFFIX", help="suffix of the decoding directory's name"
    )
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that override --config")
    options.add_argument("--shard", metavar="K/N", help=OPTION_HELP)
    return run_step(_run, options.parse_args(argv), "stage 7")


def _run(options: argparse.Namespace) -> None:
    from zipperasr.decode.decode_experiment import DecodingTask, decode_experiment

    config = load_yaml(DecodeConfig, options.config, parse_overrides(options.set))
    task = DecodingTask(
        manifest=options.manifest,
        languages=options.languages,
        regime=options.regime,
        sets=None if options.sets is None else tuple(options.sets),
        lang=tuple(options.lang),
        tag=options.inference_tag,
        alignment_sets=options.alignment_sets,
    )
    if options.shard is not None:
        _run_shard(ShardJob.parse(options.shard), options.exp, config, task)
        return
    for exp in options.exp:
        decode_experiment(exp, config, task)


def _run_shard(job: ShardJob, exps: Sequence[Path], config: DecodeConfig, task: DecodingTask) -> None:
    from zipperasr.decode.decode_shards import decode_shard, merge_shards, missing_shards

    if job.task == MISSING:
        print(ranges(number for exp in exps for number in missing_shards(exp, config, task, job.count)))
        return
    for exp in exps:
        if job.task == MERGE:
            merge_shards(exp, config, task, job.count)
        else:
            decode_shard(exp, config, task, int(job.task), job.count)


if __name__ == "__main__":
    sys.exit(main())
