"""Read the files that the stages wrote: JSON, JSON lines, tab-separated tables, config.yaml.

Errors name file and line and the stage to rerun.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zipperasr.config import read_tree
from zipperasr.yaml_text import shown


def read_config(directory: Path) -> dict[str, Any]:
    """The keys of a training's config.yaml. Raises ValueError if it is not YAML, too large or has no keys."""
    path = directory / "config.yaml"
    tree = read_tree(path, bases=False)
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: got {shown(tree)}, wanted the keys of a training; rerun stage 5 or 6")
    return tree


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object per line; [] if there is no file. Raises ValueError with file and line."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not a JSON object ({error!s:.80}); rerun the training stage") from error
    return rows


def read_json(path: Path) -> dict[str, Any] | None:
    """One object; None if there is no file. Raises ValueError with file and line."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg}); rerun the stage that writes it") from error


def read_tsv(path: Path) -> tuple[list[str], list[list[str]]]:
    """(header, rows), without comments and blank lines. Raises ValueError with file and line."""
    header: list[str] = []
    rows: list[list[str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if not header:
            header = cells
        elif len(cells) != len(header):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {len(header)} as in its header line")
        else:
            rows.append(cells)
    if not header:
        raise ValueError(f"{path}: no header line; rerun the stage that writes it")
    return header, rows
