#!/usr/bin/env python3
"""Print the lowest version of each package that setup.py requires, as `name==version` lines for pip."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.py"


def lowest_versions(setup: Path = SETUP) -> dict[str, str]:
    """Package -> lower bound. Raises ValueError if a requirement is not of the form `name>=version`."""
    tree = ast.parse(setup.read_text(encoding="utf-8"))
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    found = {}
    for requirement in ast.literal_eval(assigned["REQUIRED"]):
        matched = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
        if matched is None:
            raise ValueError(f"{setup}: got {requirement!r} in REQUIRED, wanted name>=version")
        found[matched[1]] = matched[2]
    return found


def main() -> int:
    for name, version in lowest_versions().items():
        print(f"{name}=={version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
