"""Stage 2: convert the audio of every data directory to 16 kHz mono, one entry per utterance.

Reads the data directories of stage 1 (any codec, sampling rate and number of channels). Writes dump/raw/<set>/ with
FLAC in arks (or one file per utterance), exact durations, and quarantine.tsv and filtered.tsv, which list the
utterances left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zipperasr.audio.convert import AUDIO_FORMATS
from zipperasr.audio.format_audio import FormatOptions, format_audio
from zipperasr.cli import parser, run_step


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=Path("data"), help="output directory of stage 1")
    options.add_argument("--out", type=Path, default=Path("dump/raw"), help="output directory")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="number of processes")
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
    given = options.parse_args(argv)
    format_options = FormatOptions(given.nj, given.min_s, given.max_s, given.audio_format, given.max_quarantine_share)
    return run_step(lambda given: format_audio(given.data, given.out, format_options), given, "stage 2")


if __name__ == "__main__":
    sys.exit(main())
