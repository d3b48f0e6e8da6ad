"""Are two or more systems different? Intervals and paired tests on every test set that all have scores for.

In: decodings that stage 8 has scored. Out: a table and a verdict per test set on the terminal; with --out also
comparison.md and comparison.tsv there. What the tests are: docs/significance.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zipperasr.atomic import atomic_files
from zipperasr.cli import log, parser, run_step
from zipperasr.stats.comparison import compare
from zipperasr.stats.comparison_tables import LETTERS, markdown, terminal_text, values


def compare_decodings(options: argparse.Namespace) -> None:
    """Compare every pair, print, and write where asked."""
    decode_dirs = options.decode_dir
    if not 2 <= len(decode_dirs) <= len(LETTERS):
        raise ValueError(f"--decode_dir: got {len(decode_dirs)} decodings, wanted 2 to {len(LETTERS)}")
    if len({path.resolve() for path in decode_dirs}) < len(decode_dirs):
        raise ValueError(f"--decode_dir: got {', '.join(map(str, decode_dirs))}, wanted each decoding once")
    comparisons = compare(decode_dirs)
    print(terminal_text(comparisons, decode_dirs), end="")
    if options.out:
        with atomic_files(options.out) as temporary:
            (temporary / "comparison.md").write_text(markdown(comparisons, decode_dirs), encoding="utf-8")
            (temporary / "comparison.tsv").write_text(values(comparisons, decode_dirs), encoding="utf-8")
        log(f"{options.out}/comparison.{{md,tsv}}")


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--decode_dir", type=Path, nargs="+", required=True, help="scored decodings, <exp>/decode_*")
    options.add_argument("--out", type=Path, help="directory for comparison.md and comparison.tsv")
    return run_step(compare_decodings, options.parse_args(argv), "compare")


if __name__ == "__main__":
    sys.exit(main())
