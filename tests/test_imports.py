"""Imports point downwards: no package imports one of a higher layer, and no two packages import each other."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "zipperasr").rglob("*.py"))

# From top to bottom. A package may import from its own layer and from those below.
LAYERS = (
    {"stages", "__main__"},
    {"serve", "transcribe", "evaluate", "exchange", "plan", "report", "own_data"},
    {"train", "decode", "align", "score", "stats", "lid"},
    {"batching"},
    {"model"},
    {"lora"},
    {"prepare", "audio"},
    {"datadir"},
    {"corpora"},
    {path.stem for path in (ROOT / "zipperasr").glob("*.py")} - {"__main__"},  # modules outside packages
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
USES_ARGPARSE = ("cli.py", "stages/", "score/sclite/options.py", "transcribe/options.py")  # and modules with a main()


def name(path: Path) -> str:
    return str(path.relative_to(ROOT / "zipperasr"))


def package(path: Path) -> str:
    """The package below zipperasr, or the name of a module outside packages."""
    return path.relative_to(ROOT / "zipperasr").parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import, including those inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)}:{node.lineno}: relative import"
            parent = node.module or ""
            yield from (
                (f"{parent}.{alias.name}" if parent == "zipperasr" else parent, node.lineno) for alias in node.names
            )


def arrows() -> Iterator[tuple[str, str, str]]:
    """(package, imported package, location) for every import of one package by another."""
    for path in MODULES:
        for module, line in imported(path):
            head, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if head == "zipperasr" and target in LAYER_OF and target != package(path):
                yield package(path), target, f"{name(path)}:{line} imports {module}"


def test_every_package_has_a_layer():
    assert {package(path) for path in MODULES} - set(LAYER_OF) == set()
    assert sum(1 for _ in arrows()) > 200


def test_no_import_points_upwards():
    assert [place for source, target, place in arrows() if LAYER_OF[target] < LAYER_OF[source]] == []


def test_no_two_packages_import_each_other_directly_or_through_others():
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for source, target, _ in arrows():
        graph[source].add(target)

    def reached(start: str) -> set[str]:
        found, todo = set(), [start]
        while todo:
            new = graph[todo.pop()] - found
            found |= new
            todo += new
        return found

    assert sorted(source for source in list(graph) if source in reached(source)) == []


def test_no_file_name_occurs_three_times():
    counts = Counter(path.name for path in MODULES if not path.name.startswith("__"))
    assert {file: count for file, count in counts.items() if count > 2} == {}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_commands_use_argparse(path):
    is_command = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree(path).body)
    if not name(path).startswith(USES_ARGPARSE) and not is_command:
        assert "argparse" not in {module for module, _ in imported(path)}


def test_sclite_imports_only_the_option_parser_of_the_package():
    outside = {
        module
        for path in MODULES
        if name(path).startswith("score/sclite/")
        for module, _ in imported(path)
        if module.startswith("zipperasr.") and not module.startswith("zipperasr.score.sclite")
    }
    assert outside <= {"zipperasr.cli"}
