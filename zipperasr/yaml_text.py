"""Parse untrusted YAML: size, nesting and the expansion of aliases are limited.

In: text. Out: plain dicts, lists and scalars, or a ValueError with one short line.
"""

from __future__ import annotations

import reprlib
from typing import Any

import yaml

from zipperasr.cli import shortened

MAX_BYTES = 200_000  # per file; the largest of the project has a few thousand
MAX_VALUES = 10_000  # an alias counts each time it is used
MAX_DEPTH = 20

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 100, 100, 40


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of `text`. Raises ValueError that starts with `where`."""
    try:
        _check_extent(text)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(
            f"{where}: not valid YAML: {shortened(error.problem or error.context or '')}{place}"
        ) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # the last three: PyYAML's own failures on values that do not fit an explicit tag, such as `!!int ""`
        raise ValueError(f"{where}: not valid YAML: {shortened(' '.join(str(error).split()))}") from error


def _check_extent(text: str) -> None:
    """Count parser events, which needs no memory, before building values. Raises ValueError."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} characters, wanted at most {MAX_BYTES:,}")
    count, starts, sizes = 0, [], {}
    for event in yaml.parse(text, yaml.SafeLoader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in starts):
                raise ValueError(f"alias *{anchor} is inside the value that it refers to")
            count += sizes.get(anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            starts.append((anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, start = starts.pop()
            sizes[name] = count - start
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            sizes[anchor] = 1
        if len(starts) > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
        if count > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values, aliases expanded")


def shown(value: Any) -> str:
    """Return `repr` of a value for an error message, at most about a hundred characters."""
    try:
        return shortened(_SHORT.repr(value), 120)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return f"an integer of {value.bit_length()} bits"
