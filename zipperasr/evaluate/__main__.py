"""Evaluate a trained model: WER or CER of each language with a 95 % interval, and speed (RTFx).

DATA is a manifest (.jsonl), a table with a header (.csv, .tsv), a CutSet of lhotse (.jsonl.gz), a data set of Hugging
Face (.parquet, or a directory of save_to_disk), a data directory of Kaldi or ESPnet, or the directory of FLEURS.
Utterances that cannot be used are reported and left out; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import zipperasr
from zipperasr.cli import escaped, log, parser, run_step, shortened
from zipperasr.evaluate.results import NORMALISERS, OWN, table, write_results
from zipperasr.transcribe.defaults import DEFAULTS
from zipperasr.transcribe.options import DECODING, add_decoding, add_model, decoding_of

MOST_NAMED = 20  # utterances left out that are listed on the terminal


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr evaluate"
    add_model(options)
    options.add_argument("--data", type=Path, required=True, help="list of utterances with transcripts")
    options.add_argument(
        "--lang", metavar="CODE", help="only this language, which is also that of utterances that name none"
    )
    options.add_argument("--split", default="test", help="FLEURS: train, dev or test")
    options.add_argument(
        "--normalizer",
        choices=NORMALISERS,
        default=OWN,
        help="own: each language's, as in stage 8; whisper: Whisper's English one for English, else its basic one",
    )
    options.add_argument("--out", type=Path, default=None, help="also write the results to this JSON file")
    add_decoding(options, DEFAULTS)
    return run_step(_run, options.parse_args(argv), "zipperasr evaluate")


def _run(options: argparse.Namespace) -> None:
    from zipperasr.evaluate.evaluation import evaluate
    from zipperasr.evaluate.utterances import read_utterances
    from zipperasr.model.experiment import weights_digest
    from zipperasr.transcribe.transcriber import Transcriber

    data = read_utterances(options.data, options.lang, options.split)
    transcriber = Transcriber.from_pretrained(options.model, options.device, decoding_of(options, DEFAULTS))
    data.leave_out_languages_except(transcriber.languages.codes)
    results = evaluate(transcriber, data, options.normalizer)
    print(table(results))
    for reason in data.left_out[:MOST_NAMED]:
        print(f"zipperasr evaluate: left out: {escaped(shortened(reason, 400))}", file=sys.stderr)
    if (more := len(data.left_out) - MOST_NAMED) > 0:
        print(f"zipperasr evaluate: left out: and {more} more; --out lists all", file=sys.stderr)
    if options.out is not None:
        facts = {
            "model": Path(os.path.abspath(options.model)).name,
            "weights": weights_digest(transcriber.opened.directory),
            "data": str(options.data),
            "split": options.split if data.reader == "fleurs" else None,
            "lang": options.lang,
            "normalizer": options.normalizer,
            "zipperasr": zipperasr.__version__,
            "device": transcriber.opened.model.causal_lm.device.type,
            **{name: getattr(options, name) for name in DECODING},
        }
        write_results(options.out, facts, results, data.left_out)
        log(f"{options.out}: results of {len(results)} languages")
    if data.left_out:
        total = len(data.left_out) + sum(row.score.utts for row in results)
        raise ValueError(f"{len(data.left_out)} of {total} utterances were left out; see the reasons above")


if __name__ == "__main__":
    sys.exit(main())
