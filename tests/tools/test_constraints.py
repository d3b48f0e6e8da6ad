"""requirements/constraints.txt pins every requirement of setup.py once for each supported Python."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(root: Path) -> list[Requirement]:
    lines = (root / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def named_in_setup(root: Path) -> list[Requirement]:
    """Every requirement that setup.py lists."""
    tree = ast.parse((root / "setup.py").read_text(encoding="utf-8"))
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
    (call,) = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    (extras,) = [keyword.value for keyword in call.keywords if keyword.arg == "extras_require"]
    lists += [value for value in extras.values if isinstance(value, ast.List)]
    return [Requirement(text) for one in lists for text in ast.literal_eval(one)]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_each_python_gets_one_exact_version_of_everything(root, python):
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    chosen = [pin for pin in pins(root) if pin.marker is None or pin.marker.evaluate(environment)]
    assert all(spec.operator == "==" for pin in chosen for spec in pin.specifier)
    counts = Counter(canonicalize_name(pin.name) for pin in chosen)
    assert [name for name, count in counts.items() if count > 1] == []
    required = {canonicalize_name(requirement.name) for requirement in named_in_setup(root)}
    assert required - set(counts) == set()


def test_pins_satisfy_the_bounds_of_setup(root):
    bounds = {canonicalize_name(requirement.name): requirement.specifier for requirement in named_in_setup(root)}
    outside = [
        str(pin)
        for pin in pins(root)
        for spec in pin.specifier
        if not bounds.get(canonicalize_name(pin.name), pin.specifier).contains(spec.version)
    ]
    assert len(bounds) > 20
    assert outside == []


def test_torch_is_pinned_to_the_installers_version(root):
    installer = (root / "tools" / "torch_version.sh").read_text(encoding="utf-8")
    (torch,) = [pin for pin in pins(root) if pin.name == "torch"]
    assert f"torch_version{str(torch.specifier)[1:]}\n" in installer
