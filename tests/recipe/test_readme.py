"""What the READMEs promise is there: options, modules, files."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs2" / "zipper12" / "asr1"
NAMES = ("architecture", "extending", "add_language", "export", "transcribe", "serve", "significance")
DOCS = tuple(ROOT / "docs" / f"{name}.md" for name in NAMES)
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS, RECIPE / "README.md")
WRITTEN_BY_A_RUN = {"RESULTS.md", "make_run.md", "results.png"}


def calls_of_run_sh() -> list[str]:
    """Every `./run.sh ...` of the pages and of run.sh's own head, remarks cut off."""
    found = []
    for page in (*PAGES, RECIPE / "run.sh"):
        text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
        found += [match[1] for match in re.finditer(r"^(?:[# ]| {4}).*?(\./run\.sh(?: +[^#\s][^#\n]*)?)", text, re.M)]
    return sorted({call.split("  ")[0].strip() for call in found})


@pytest.mark.parametrize("call", calls_of_run_sh())
def test_run_sh_knows_the_options_of_each_example(call):
    words = shlex.split(call)
    done = subprocess.run([*words, "--help"], cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_were_found():
    assert len(calls_of_run_sh()) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists() and Path(link).name not in WRITTEN_BY_A_RUN]
    assert missing == []


def test_the_stage_table_names_real_modules():
    table = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| \d ", line)
    ]
    modules = [re.search(r"`((?:zipperasr|local)[\w.]+)", line)[1] for line in table]
    assert len(modules) == 10
    assert [module for module in modules if find_spec(module) is None] == []
