"""Read YAML files into frozen dataclasses; unknown keys are errors.

In: conf/*/*.yaml and `key=value` overrides. Out: one dataclass. Nested dataclasses are nested keys. A file may extend
another one with `base: ../full/sft.yaml` and then lists only what differs.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from zipperasr.cli import nearest, shortened
from zipperasr.yaml_text import MAX_BYTES, parse_yaml, shown

T = TypeVar("T")

BASE = "base"  # the key that names the file to extend, relative to the file it is in
DEEPEST_BASE = 8


class Overrides(dict[str, Any]):
    """Dotted keys and their values, parsed from `texts` of a command-line option."""

    def __init__(self, option: str, texts: dict[str, str]):
        super().__init__(
            (key, parse_yaml(text, f"{option} {shortened(f'{key}={text}')}")) for key, text in texts.items()
        )
        self._option, self._texts = option, texts

    def where(self, key: str) -> str:
        """Return how an error names one of them."""
        return f"{self._option} {shortened(f'{key}={self._texts[key]}')}"


def load_yaml(cls: type[T], path: str | Path, overrides: dict[str, Any] | None = None, bases: bool = True) -> T:
    """Read `path` into `cls`.

    Args:
        overrides: dotted keys and values that replace those of the file.
        bases: follow `base:` keys. Use False for untrusted files, which must not name other files to read.

    Raises FileNotFoundError if a file is missing, ValueError if it is malformed or does not fit `cls`.
    """
    tree = read_tree(path, bases)
    if isinstance(overrides, Overrides):
        return _overridden(cls, tree, overrides, str(path))
    for dotted, value in (overrides or {}).items():
        _set(tree, dotted, value, str(path))
    return from_tree(cls, tree, str(path))


def _overridden(cls: type[T], tree: dict[str, Any], overrides: Overrides, path: str) -> T:
    """Build `cls`; an error names the first override that causes it, or else the file."""
    before = copy.deepcopy(tree)
    for dotted, value in overrides.items():
        _set(tree, dotted, value, overrides.where(dotted))
    try:
        return from_tree(cls, tree, path)
    except ValueError:
        from_tree(cls, before, path)
        for dotted, value in overrides.items():
            where = overrides.where(dotted)
            _set(before, dotted, value, where)
            from_tree(cls, before, where)
        raise


def read_tree(path: str | Path, bases: bool = True, depth: int = 0) -> dict[str, Any]:
    """Return the keys of a YAML file merged into those of its `base`; nested keys are merged one by one."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such configuration file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, wanted a configuration of at most {MAX_BYTES:,}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); convert the file with iconv") from error
    tree = parse_yaml(text, str(path)) or {}
    if not bases or not isinstance(tree, dict) or BASE not in tree:
        return tree
    base = tree.pop(BASE)
    if not isinstance(base, str):
        raise ValueError(f"{path}: {BASE}: got {shown(base)}, wanted the path of another YAML file")
    if depth == DEEPEST_BASE:
        raise ValueError(f"{path}: {BASE}: more than {DEEPEST_BASE} files deep; do two files refer to each other?")
    return _merged(read_tree(path.parent / base, bases, depth + 1), tree)


def from_tree(cls: type[T], tree: dict[str, Any], where: str = "configuration") -> T:
    """Build the dataclass `cls` from nested dictionaries. Raises ValueError on an unknown or ill-typed key.

    A class with keys that are not fields has a class method `read_tree(tree, where)`, which replaces them.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"{where}: got {shown(tree)}, wanted keys of {cls.__name__}")
    read_tree = getattr(cls, "read_tree", None)
    if read_tree is not None:
        return read_tree(tree, where)
    return build(cls, tree, where)


def build(cls: type[T], tree: dict[str, Any], where: str) -> T:
    """`from_tree` for a class whose keys are its fields."""
    known = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {shown(key)}; {nearest(shortened(str(key)), list(known))}")
        values[key] = _coerce(hints[key], value, f"{where}: {key}")
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def parse_overrides(pairs: list[str], option: str = "--set") -> Overrides:
    """Parse `["optim.lr=1e-3"]` to `{"optim.lr": 0.001}`; values are YAML. `option` is named in errors."""
    texts = {}
    for pair in pairs:
        key, sep, value = pair.partition("=")
        if not sep or not key:
            raise ValueError(f"{option} {shortened(pair)}: wanted key=value")
        texts[key] = value
    return Overrides(option, texts)


def to_tree(config: Any) -> dict[str, Any]:
    """Return the dataclass as nested dictionaries for yaml.safe_dump; `from_tree` reads them back."""
    if hasattr(config, "write_tree"):
        return config.write_tree()
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_tree(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merged(below[key], value) if nested else value
    return merged


def _set(tree: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ValueError(f"{where}: {shortened(key)} is a single value ({shown(tree)}) and has no keys of its own")
    tree[last] = value


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_tree(hint, value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [arg for arg in args if arg is not type(None)]
        fitting = (k for k in kinds if type(value) is k or (dataclasses.is_dataclass(k) and isinstance(value, dict)))
        return _coerce(next(fitting, kinds[0]), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: got {shown(value)}, wanted a list")
        return tuple(_coerce(args[0], item, where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: got {shown(value)}, wanted keys and their values")
        return {
            _coerce(args[0], key, f"{where}: key"): _coerce(args[1], item, f"{where}: {shown(key)}")
            for key, item in value.items()
        }
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = _to_float(value, where)
    is_class = isinstance(hint, type) and origin is None  # for Python 3.10, dict[str, str] is an instance of type
    if is_class and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ValueError(f"{where}: got {shown(value)}, wanted {hint.__name__}")
    return value


def _to_float(value: int | str, where: str) -> float:
    try:  # YAML 1.1 reads 1e-3 as a string
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: got {shown(value)}, wanted a number") from error
