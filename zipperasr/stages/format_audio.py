"""Stage 2: convert the audio of every data set to 16 kHz mono, one entry per utterance.

Reads the data directories of stage 1 (any codec, rate and number of channels); writes dump/raw/<set>/ with FLAC in
arks (or one file per utterance), exact durations, and quarantine.tsv and filtered.tsv, which name what was left out.
"""

from __future__ import annotations

import os
import sys

from zipperasr.audio.convert import AUDIO_FORMATS
from zipperasr.audio.format_audio import format_audio
from zipperasr.cli import parser, run_step


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--data", default="data", help="directory that stage 1 wrote")
    options.add_argument("--out", default="dump/raw", help="directory to write")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")
    options.add_argument("--min_s", type=float, default=0.1, help="shortest utterance of a training set, in seconds")
    options.add_argument("--max_s", type=float, default=30.0, help="longest utterance of a training set, in seconds")
    options.add_argument("--audio_format", default="flac.ark", choices=AUDIO_FORMATS, help="flac: one file each")
    options.add_argument(
        "--max_quarantine_share", type=float, default=0.01, help="of a set's utterances; more is an error"
    )
    return run_step(format_audio, options.parse_args(argv), "stage 2")


if __name__ == "__main__":
    sys.exit(main())
