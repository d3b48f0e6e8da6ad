"""Are two or more systems different? Intervals and paired tests on every test set that all of them have scores for.

In: decodings scored by stage 8. Out: a table and a verdict per test set on the terminal; with --out also comparison.md
and comparison.tsv. docs/significance.md describes the tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zipperasr.atomic import atomic_files
from zipperasr.cli import log, parser, run_step


def compare_decodings(decode_dirs: Sequence[Path], out: Path | None = None) -> None:
    """Compare every pair and print the result; write it to the directory `out` if there is one."""
    from zipperasr.stats.comparison import compare  # loads scipy
    from zipperasr.stats.comparison_tables import LETTERS, markdown, terminal_text, values

    if not 2 <= len(decode_dirs) <= len(LETTERS):
        raise ValueError(f"--decode_dir: got {len(decode_dirs)} decodings, wanted 2 to {len(LETTERS)}")
    if len({path.resolve() for path in decode_dirs}) < len(decode_dirs):
        raise ValueError(f"--decode_dir: got {', '.join(map(str, decode_dirs))}, wanted each decoding once")
    comparisons = compare(decode_dirs)
    print(terminal_text(comparisons, decode_dirs), end="")
    if out:
        with atomic_files(out) as temporary:
            (temporary / "comparison.md").write_text(markdown(comparisons, decode_dirs), encoding="utf-8")
            (temporary / "comparison.tsv").write_text(values(comparisons, decode_dirs), encoding="utf-8")
        log(f"written: {out}/comparison.{{md,tsv}}")


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--decode_dir", type=Path, nargs="+", required=True, help="scored decodings, <exp>/decode_*")
    options.add_argument("--out", type=Path, help="directory for comparison.md and comparison.tsv")
    return run_step(_run, options.parse_args(argv), "compare")


def _run(options: argparse.Namespace) -> None:
    compare_decodings(options.decode_dir, options.out)


if __name__ == "__main__":
    sys.exit(main())
