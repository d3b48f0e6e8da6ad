"""Texts for users and readers avoid phrases that are not plain English, and use one vocabulary.

This checks string literals (help texts, logs, errors, docstrings) and comments in the package, the recipes, the tools
and the benchmarks; names, docstrings and comments of tests; shell scripts; and documentation, except code in it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTEAD = {  # pattern -> what to write
    r"(large|larger|small|smaller) languages": "high-resource or low-resource languages",
    r"fold(s|ed|ing)?": "merge",
    r"rooms?(?! impulse response)": "package, slot or capacity",
    r"mend(s|ed|ing)?": "fix",
    r"perhaps": "say what is known",
    r"nothing twice": "is skipped",
    r"half heard|hold still|answer(s)? loudest": "say what happens",
    r"stands? (there|on|beside)|stood (there|on)": "is, is listed, needs",
    r"go(es)? on|going on|went on": "resumes, continues",
    r"comes? to|came to": "is added to, reaches",
    r"pass(es|ed)? over": "skip",
    r"(is|are|was|were) told|told by|tells? of": "say who reports what",
    r"(its|their|the same) bits|to the bit": "bit-identical",
    r"of initialisation, packs": "random seed",
    r"what (\w+ ){1,3}(is|are) made of": "name the parts",
    r"takes? turns": "alternate",
    r"anew": "again",
    r"made[- ]up": "generated, synthetic",
    r"held (against|apart)": "compared with, separate",
    r"heard|hears": "recognised, encoded, depends on",
    r"spoil(s|ed|t|ing)?": "damage, mutate",
    r"puts? out": "output",
    r"as (it|they) stands?": "unchanged",
    r"what (\w+ ){0,2}(is|are) no(ne)?|that (is|are) none": "invalid, other",
    r"in vain|thereof|hereby|whilst": "plain words",
}
FOLD = re.compile(r"\bfold(s|ed|ing)?\b", re.I)
FOLDS_CASE = "zipperasr/score/"  # where to fold means to ignore the case of letters
BANNED = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in INSTEAD), re.I)
CODE = re.compile(r"^(`{3,}).*?^\1$|`[^`\n]*`|^ {4}.*$|\]\([^)]*\)", re.M | re.S)
SCRIPTS = [
    path
    for folder in ("zipperasr", "egs2", "tools", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.is_file()
]
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__).resolve()]
PAGES = sorted(
    {
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / "egs2").glob("*/asr1/README.md"),
    }
)


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string literal, including docstrings and the constant parts of f-strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment."""
    with tokenize.open(path) as stream:
        for token in tokenize.generate_tokens(stream.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def names_and_docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the names of functions and classes, as words, and of all docstrings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = getattr(node, "lineno", 1)
            yield line, getattr(node, "name", "").replace("_", " ")
            yield line, " ".join((ast.get_docstring(node) or "").split())


def found(path: Path, line: int, text: str) -> list[str]:
    name = str(path.relative_to(ROOT))
    if name.startswith(FOLDS_CASE):
        text = FOLD.sub("", text)
    place = f"{name}:{line}"
    return [f"{place}: {match[0]!r}; write: {remedy(match[0])}" for match in BANNED.finditer(text)]


def remedy(phrase: str) -> str:
    return next(words for pattern, words in INSTEAD.items() if re.fullmatch(pattern, phrase, re.I))


def test_messages_docstrings_and_comments():
    texts = [(path, *text) for path in SCRIPTS for text in (*literals(path), *comments(path))]
    texts += [(path, *text) for path in TESTS for text in (*names_and_docstrings(path), *comments(path))]
    assert [hit for text in texts for hit in found(*text)] == []


def test_shell_scripts():
    listed = subprocess.run(["git", "ls-files", "*.sh", "utils"], cwd=ROOT, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split()] or sorted(ROOT.glob("utils/*"))
    lines = (
        (path, number, line)
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    )
    assert [hit for path, number, line in lines for hit in found(path, number, line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documentation(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    assert found(page, 0, " ".join(text.split())) == []


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("how much the four small languages have", "small languages"),
        ("an interrupted one goes on", "goes on"),
        ("A finished stage does nothing twice", "nothing twice"),
        ("the trained system that --add_lang comes to", "comes to"),
        ("is told by a watchdog line with the place", "is told"),
        ("mend that and start again", "mend"),
        ("all others keep their bits", "their bits"),
    ],
)
def test_the_pattern_finds_the_phrases_of_the_style_guide(text, phrase):
    assert [match[0] for match in BANNED.finditer(text)] == [phrase]
