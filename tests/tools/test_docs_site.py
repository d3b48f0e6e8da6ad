"""mkdocs.yml lists every page, and the API reference names existing modules. `make docs` builds the site."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCES = [
    (path.name, module)
    for path in sorted((DOCS / "api").glob("*.md"))
    for module in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.M)
]


def pages(nav: list | dict | str) -> Iterator[str]:
    """Paths in mkdocs' nested lists of {title: path or list}."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(item)


def test_the_navigation_lists_every_page_once():
    found = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(found) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize(("page", "module"), REFERENCES)
def test_the_api_reference_names_documented_modules(page, module):
    spec = find_spec(module)
    assert spec is not None, page
    assert ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))), f"{module} has no docstring"


def test_the_api_reference_was_found():
    assert len(REFERENCES) > 25


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (None, "See Contributing and [Training](training.md#stages)."),
        (
            "https://x.org/y/",
            "See [Contributing](https://x.org/y/blob/main/CONTRIBUTING.md#tests) and [Training](training.md#stages).",
        ),
    ],
)
def test_links_out_of_docs_point_to_the_repository(url, wanted):
    spec = spec_from_file_location("docs_links", ROOT / "tools" / "docs_links.py")
    hook = module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "See [Contributing](../CONTRIBUTING.md#tests) and [Training](training.md#stages)."
    assert hook.on_page_markdown(text, config={"repo_url": url}) == wanted
