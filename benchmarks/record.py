"""Write a benchmark's section of RESULTS.md: its results, the command, the date, the machine and versions.

Input: a title and Markdown. Output: the file with this section replaced and all others unchanged.
"""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path

from zipperasr.atomic import atomic_path

RESULTS = Path(__file__).parent / "RESULTS.md"
_TITLE = "# Benchmarks\n\nWritten by the scripts in this directory. Ratios are relative to a peer in the same run.\n"


def write_section(title: str, body: str, results: Path) -> None:
    """Replace the section `title` of the file `results`, or append it."""
    text = results.read_text(encoding="utf-8") if results.is_file() else _TITLE
    heading, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    section = f"## {title}\n\n{body.strip()}\n\n{_provenance()}\n"
    names = [existing.splitlines()[0] for existing in sections]
    if f"## {title}" in names:
        sections[names.index(f"## {title}")] = section
    else:
        sections.append(section)
    with atomic_path(results) as temporary:
        parts = [heading.strip(), *(part.strip() for part in sections)]
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _provenance() -> str:
    # Imported here because it imports torch, whose memory a benchmark's child processes would otherwise start with.
    from zipperasr.report.machine import device, versions

    machine, found = device(), versions()
    where = ", ".join(f"{name} {machine[name]}" for name in ("CPU", "cores", "GPU"))
    packages = ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "transformers", "peft", "deepspeed"))
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"`{command}`, {date.today()}; {where}; {packages}."
