"""A table of regular expressions that maps another tool's tensor names to ours.

In: tab-separated lines `pattern, name, change`. Out: the target of each foreign tensor. The first pattern that matches
the whole name is used. `name[key]` is one slice of a stacked tensor, such as a language's bank or a layer's router;
`-` drops the tensor.
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
    """The tensor of ours, or slice of one, that a foreign tensor is mapped to."""

    name: str
    key: str | None  # of the slice; None: the whole tensor
    transpose: bool


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    pattern: re.Pattern[str]
    template: str
    transpose: bool

    def target(self, match: re.Match[str]) -> Target | None:
        """Target of a matching name; None: dropped. Raises ValueError if the template yields no valid name."""
        if self.template == DROP:
            return None
        parts = _TARGET.fullmatch(match.expand(self.template))
        if parts is None:
            raise ValueError(
                f"key table: {match[0]} is mapped to {match.expand(self.template)!r}, wanted name or name[key]; "
                "correct the pattern"
            )
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
        raise ValueError(f"{path}: the table is empty; wanted lines of {', '.join(COLUMNS)}, tab separated")
    return rules


def map_names(rules: Iterable[Rule], names: Iterable[str]) -> dict[str, Target | None]:
    """{foreign name: its target, or None if it is dropped}; names that no pattern matches are left out."""
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
        compiled.sub(template, "")  # raises if the template uses a group that the pattern does not have
    except (re.error, IndexError) as error:
        raise ValueError(f"{where}: invalid pattern or name ({error}): {pattern} -> {template}") from error
    if template != DROP and not _TARGET.fullmatch(template):
        raise ValueError(f"{where}: got name {template!r}, wanted name, name[key] or {DROP}")
    return Rule(compiled, template, change == "transpose")
