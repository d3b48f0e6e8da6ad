"""A table of regular expressions that maps another tool's tensor names to ours.

In: tab-separated lines `pattern, name, change`. Out: the target of each foreign tensor. The first pattern that matches
a whole name wins. `name[key]` is one slice of a stacked tensor: a language's bank, a layer's router. `-` drops it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.text_lines import numbered_lines

COLUMNS = ["pattern", "name", "change"]
CHANGES = ("-", "transpose")
DROP = "-"
DEFAULT = Path(__file__).with_name("key_map.tsv")
_TARGET = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<key>[^\[\]]+)\])?")


@dataclass(frozen=True)
class Target:
    """Where a foreign tensor goes."""

    name: str  # ours
    key: str | None  # of one slice, if the foreign tensor is one
    transpose: bool


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    pattern: re.Pattern[str]
    template: str
    transpose: bool

    def target(self, match: re.Match[str]) -> Target | None:
        """None: dropped. Raises ValueError if the groups make no name of it."""
        if self.template == DROP:
            return None
        parts = _TARGET.fullmatch(match.expand(self.template))
        if parts is None:
            raise ValueError(f"key table: {match[0]} becomes {match.expand(self.template)!r}; wanted name or name[key]")
        return Target(parts["name"], parts["key"], self.transpose)


def load_key_map(path: str | Path) -> list[Rule]:
    """Read a table. Raises ValueError with file and line."""
    rules, header_seen = [], False
    for number, line in numbered_lines(Path(path)):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if not header_seen:
            if cells != COLUMNS:
                raise ValueError(f"{path}:{number}: got columns {cells}, wanted {COLUMNS}, tab separated")
            header_seen = True
            continue
        rules.append(_rule(cells, f"{path}:{number}"))
    if not rules:
        raise ValueError(f"{path}: no line in the table; wanted {' '.join(COLUMNS)}, tab separated")
    return rules


def map_names(rules: Iterable[Rule], names: Iterable[str]) -> dict[str, Target | None]:
    """Foreign name -> where it goes, or None where it is dropped; names that no line knows are not in it."""
    found, rules = {}, list(rules)
    for name in names:
        for rule in rules:
            if match := rule.pattern.fullmatch(name):
                found[name] = rule.target(match)
                break
    return found


def _rule(cells: list[str], where: str) -> Rule:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{where}: got {len(cells)} cells {cells}, wanted {len(COLUMNS)}: {', '.join(COLUMNS)}")
    pattern, template, change = cells
    if change not in CHANGES:
        raise ValueError(f"{where}: unknown change {change!r}; {nearest(change, CHANGES)}")
    try:
        compiled = re.compile(pattern)
        compiled.sub(template, "")  # finds a group that the pattern has not
    except (re.error, IndexError) as error:
        raise ValueError(f"{where}: no valid pattern and name ({error}): {pattern} -> {template}") from error
    if template != DROP and not _TARGET.fullmatch(template):
        raise ValueError(f"{where}: {template!r} is no name of ours; wanted name, name[key] or {DROP}")
    return Rule(compiled, template, change == "transpose")
