"""Stage 4: language embeddings for the router, from Whisper's decoder.

Writes exp/lid/lid_{token,state}.{ark,scp} in Kaldi's format, and tables of their cosine similarities. With --shard,
several processes share the work; the result is the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.config import load_yaml
from zipperasr.lid.embedding_shards import compute_shard, merge_shards, missing_shards
from zipperasr.lid.embeddings import EmbeddingJob, write_embeddings
from zipperasr.lid.stored_embeddings import MODES
from zipperasr.lora import is_routed
from zipperasr.model.model_config import ModelConfig
from zipperasr.shards import MERGE, MISSING, OPTION_HELP, ShardJob, ranges


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="model.yaml; names the Whisper model")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="manifests of stage 3")
    options.add_argument("--out", type=Path, default=Path("exp/lid"), help="output directory")
    options.add_argument("--lora", help="LoRA variant that will use them; default: any")
    options.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="kinds of embeddings to compute")
    options.add_argument("--utterances", type=int, default=20, help="state: training utterances per language")
    options.add_argument("--seed", type=int, default=1, help="state: random seed of this selection")
    options.add_argument("--shard", metavar="K/N", help=OPTION_HELP)
    return run_step(_run, options.parse_args(argv), "stage 4")


def _run(given: argparse.Namespace) -> None:
    values = vars(given)
    shard, lora = values.pop("shard"), values.pop("lora")
    job = EmbeddingJob(**{**values, "modes": tuple(values["modes"])})
    if not _needed(job, lora):
        return
    if shard is None:
        write_embeddings(job)
        return
    share = ShardJob.parse(shard)
    if share.task == MISSING:
        print(ranges(missing_shards(job, share.count)))
    elif share.task == MERGE:
        merge_shards(job, share.count)
    else:
        compute_shard(job, int(share.task), share.count)


def _needed(job: EmbeddingJob, lora: str | None) -> bool:
    """Whether there is anything to compute. Raises ValueError if the variant needs embeddings that do not exist."""
    from zipperasr.model.backbones import has_languages  # loads transformers

    config = load_yaml(ModelConfig, job.model)
    if lora is not None and config.encoder_lora.learns_embeddings(lora):
        log(f"{job.model}: the router of {lora} learns its language embeddings; nothing to compute")
        return False
    if has_languages(config.languages_from):
        return True
    if lora is None or is_routed(lora):
        raise ValueError(
            f"{config.languages_from}: this encoder has no language embeddings; set lid_whisper in {job.model} to a "
            "Whisper model, or learned_embeddings of the variant to a width"
        )
    log(f"{config.languages_from}: this encoder has no language embeddings, and {lora} needs none")
    return False


if __name__ == "__main__":
    sys.exit(main())
