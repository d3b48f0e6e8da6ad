"""Run a stage's command; record its wall time and peak memory.

The command follows `--`. If it succeeds, a row is appended to exp/stages.tsv. If a signal kills it, a log line gives
the signal, the peak memory and what to reduce. Exits with the command's status.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from zipperasr.cli import log, parser
from zipperasr.timed_command import append_row, failure, run_timed


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--table", type=Path, default=Path("exp/stages.tsv"), help="table to append to")
    options.add_argument("--stage", required=True, help="number of the stage")
    options.add_argument("--description", required=True, help="what the stage does, in a few words")
    options.add_argument("command", nargs=argparse.REMAINDER, help="-- followed by the command and its arguments")
    arguments = sys.argv[1:] if argv is None else argv
    if "--" not in arguments and not {"-h", "--help"} & set(arguments):
        options.error("got no --; the command goes after it")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    chosen, command = options.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if not command:
        options.error("got no command after --")
    status, wall_s, peak_mb = run_timed(command)
    if status:
        log(failure(chosen.stage, status, wall_s, peak_mb))
    else:
        log(f"stage {chosen.stage}: took {wall_s:.0f} s, peak memory {peak_mb:.0f} MB")
    if status == 0 and os.environ.get("SLURM_NODEID", "0") == "0":  # one row if several machines share the stage
        append_row(chosen.table, chosen.stage, " ".join(chosen.description.split()), wall_s, peak_mb)
    return status


if __name__ == "__main__":
    sys.exit(main())
