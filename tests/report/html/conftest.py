"""Fixtures: a scored run, created once; writable copies; the data of a page as its script reads them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.html.example import write_page_run
from zipperasr.report.html.__main__ import main


@pytest.fixture(scope="session")
def scored_run(tmp_path_factory, languages) -> Path:
    """Read only."""
    return write_page_run(tmp_path_factory.mktemp("page"), languages.path)


@pytest.fixture
def run(scored_run: Path, tmp_path: Path) -> Path:
    """A writable copy."""
    return Path(shutil.copytree(scored_run, tmp_path / "asr1"))


@pytest.fixture
def build(languages) -> Callable[..., int]:
    """Write the page of a run; returns the exit status."""

    def call(run: Path, *options: str) -> int:
        places = ["--exp", str(run / "exp"), "--raw", str(run / "dump" / "raw"), "--out", str(run / "report.html")]
        return main([*places, "--languages", str(languages.path), *options])

    return call


class PageData:
    """The data that the page's script reads."""

    def __init__(self, path: Path):
        self.text = path.read_text(encoding="utf-8")
        found = re.search(r'<script type="application/json" id="index">(.*?)</script>', self.text, re.DOTALL)
        self.index: dict[str, Any] = json.loads(found[1])

    def rows(self, block: str) -> list[list[Any]]:
        found = re.search(f'<script type="application/gzip" id="{block}">(.*?)</script>', self.text)
        return [json.loads(line) for line in gzip.decompress(base64.b64decode(found[1])).split(b"\n") if line]

    def column(self, name: str, normaliser: str) -> int:
        ways = [(column["set"], column["normaliser"]) for column in self.index["columns"]]
        return ways.index((name, normaliser))
