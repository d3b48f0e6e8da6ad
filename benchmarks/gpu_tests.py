"""Run the tests marked `gpu` and write their outcome to RESULTS.md. Needs pytest."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from record import write_section
from shared_options import add_results

from zipperasr.cli import parser, run_step

ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--device", default="cuda", help="device named in the section's title")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.gpu_tests")


def marked_files() -> list[str]:
    """Test files with a `gpu` mark. Other files may import packages that are not installed."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]


def _run(options: argparse.Namespace) -> None:
    files = marked_files()
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-rsf", "--tb=short", *files]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    lines = done.stdout.strip().splitlines()
    kept = [line for line in lines if line.startswith(("SKIPPED", "FAILED", "ERROR"))] + lines[-1:]
    body = f"{', '.join(f'`{file}`' for file in files)}:\n\n" + "\n".join(f"    {line}" for line in kept)
    write_section(f"Tests marked gpu, {options.device}", body, options.results)
    if done.returncode:
        raise ValueError(f"pytest exited with status {done.returncode}; see its output above")


if __name__ == "__main__":
    sys.exit(main())
