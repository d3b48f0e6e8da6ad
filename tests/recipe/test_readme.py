"""README.md, CONTRIBUTING.md and docs/: links, commands and their options, modules, wording."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from zipperasr.batching.augment_config import AugmentConfig
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.train.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "zipperasr"
RECIPE = ROOT / "egs2" / "zipper12" / "asr1"
README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS, RECIPE / "README.md")
ON_GITHUB = "../../actions/"  # GitHub's badge and runs of a workflow
FENCE = re.compile(r"^(`{3,}).*?^\1$", re.M | re.S)
BASH = re.compile(r"^```bash\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
RUN = re.compile(r"^(?:\w+=\S+ )?(?:python3? -m [\w.]+|zipperasr [a-z]+|(?:\./|local/|tools/|utils/|egs2/)\S+)")
OPTION = re.compile(r"^--?[A-Za-z][\w-]*")
BANNED = re.compile(
    r"\b(rooms?(?! impulse response)|comes? to|came to|stands? (there|on)|goes on|pass(es|ed) over|hold still"
    r"|half heard|to the bit|told by|keeps? (its|their) bits|mend|fold(s|ed|ing)?|(small|larger) languages"
    r"|nothing twice)\b",
    re.I,
)
NO_OPTIONS_HERE = ("git", "cd", "pip", ".", "curl", "ssh", "cat", "docker", "hf")  # commands of other projects


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[str]:
    """Command lines of a page's indented and bash blocks, joined, without comments."""
    text = read(page)
    blocks = BASH.findall(text)
    blocks += re.findall(r"(?:^|\n)\n((?: {4}.*\n(?:\n(?= {4}))?)+)", FENCE.sub("", text))
    lines = re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines()
    return [line for found in lines if (line := re.split(r"\s{2,}#|\s+# ", found.strip())[0])]


def calls(pages: tuple[Path, ...]) -> list[str]:
    """The calls of this project's scripts and modules on these pages."""
    parts = (part for page in pages for line in commands(page) for part in re.split(r" \| | && ", line))
    return sorted({part for part in parts if RUN.match(part)})


def calls_of_run_sh() -> list[str]:
    """Every `./run.sh ...` on the pages and in run.sh's header."""
    head = re.findall(r"^#.*?(\./run\.sh(?: -[^\n]*?)?)(?:  .*)?$", read(RECIPE / "run.sh"), re.M)
    shown = [call[call.index("./run.sh") :] for call in calls(PAGES) if "./run.sh" in call]
    return sorted({*head, *shown})


@pytest.mark.parametrize("call", calls_of_run_sh())
def test_run_sh_has_the_options_of_each_example(call):
    words = shlex.split(call)
    done = subprocess.run([*words, "--help"], cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_were_found():
    assert len(calls_of_run_sh()) >= 16


@cache
def help_of(program: tuple[str, ...]) -> str:
    """The --help of a script or module, run in the recipe's directory if it is there."""
    if program[:2] == (sys.executable, "-m"):
        return help_of_module(*program[2:])
    places = [place for place in (RECIPE, ROOT) if program[0] == sys.executable or (place / program[0]).exists()]
    assert places, f"{program[0]} does not exist"
    path = os.pathsep.join([str(ROOT), str(RECIPE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*program, "--help"],
        cwd=places[0],
        env={**os.environ, "PYTHONPATH": path, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def help_of_module(name: str, *subcommand: str) -> str:
    """Run in this process, because a new one takes seconds to import torch."""
    package = find_spec(name).submodule_search_locations is not None
    module = import_module(f"{name}.__main__" if package else name)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        module.main([*subcommand, "--help"])
    assert ended.value.code == 0
    return said.getvalue()


def program_of(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split a call into the program and its arguments."""
    if words[0] == "zipperasr":
        return (sys.executable, "-m", "zipperasr", words[1]), words[2:]
    if words[0].startswith("python"):
        return (sys.executable, *words[1:3]), words[3:]
    return (words[0],), words[1:]


@pytest.mark.parametrize("call", [call for call in calls(PAGES) if "./run.sh" not in call])
def test_each_command_exists_and_has_its_options(call):
    program, arguments = program_of(shlex.split(call))
    options = [match[0] for word in arguments if (match := OPTION.match(word))]
    if options or program[0] == sys.executable:
        said = help_of(program)
        assert [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", said)] == []
    else:
        assert [place for place in (RECIPE, ROOT) if os.access(place / program[0], os.X_OK)]


def test_settings_of_the_examples_are_fields_of_the_configuration():
    known = dict.fromkeys(("train", "asr", "sft", "bank", "all"), TrainConfig)
    known |= dict.fromkeys(("decode", "inference"), DecodeConfig)
    found = [match for page in PAGES for match in re.findall(r'--(\w+)_args "?([\w=.+ -]+)', read(page))]
    keys = {
        (known[kind], word.partition("=")[0]) for kind, settings in found for word in settings.split() if "=" in word
    }
    assert len(keys) >= 5
    assert {key for config, key in keys if key not in keys_of(config)} == set()


def keys_of(config: type) -> set[str]:
    """The keys of a configuration, and the dotted ones of those nested in it."""
    nested = ((field.name, field.default) for field in fields(config) if is_dataclass(field.default))
    return {field.name for field in fields(config)} | {
        f"{name}.{field.name}" for name, inner in nested for field in fields(inner)
    }


def test_the_page_lists_every_setting_of_augmentation():
    text = read(ROOT / "docs" / "training.md")
    table = text[text.index("## Augmentation") : text.index("## Monitoring")]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|[^|]*", table, re.M)))) == {
        field.name for field in fields(AugmentConfig)
    }


def test_every_command_on_a_page_is_checked_or_belongs_to_another_project():
    left = set()
    for page in (
        README,
        *(ROOT / "docs" / f"{n}.md" for n in ["install", "training", "reproducing", "full_scale", "scoring"]),
    ):
        assert commands(page), page
        for line in commands(page):
            for part in re.split(r" \| | && ", line):
                word, *rest = part.split()
                known = RUN.match(part) or word in NO_OPTIONS_HERE
                known = known or (word == "make" and re.search(rf"^{rest[0]}:", read(ROOT / "Makefile"), re.M))
                known = known or (word == "python" and (ROOT / rest[0]).is_file())
                left |= set() if known else {part}
    assert left == set()


def anchors(page: Path) -> set[str]:
    """GitHub's anchors for the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", read(page)), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_their_anchors_resolve(page):
    broken = []
    for link in LINK.findall(FENCE.sub("", read(page))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if (
            "://" not in link
            and not link.startswith(ON_GITHUB)
            and not (target.exists() and (not anchor or anchor in anchors(target)))
        ):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_prose_uses_the_vocabulary(page):
    """Terms such as merge, high- and low-resource, skipped, resumes, bit-identical and package have one word each."""
    assert [match[0] for match in BANNED.finditer(" ".join(FENCE.sub("", read(page)).split()))] == []


def test_the_index_links_to_every_page():
    linked = {(INDEX.parent / link).resolve() for link in LINK.findall(read(INDEX)) if "://" not in link}
    assert {*DOCS, README, ROOT / "CONTRIBUTING.md"} - {INDEX} <= linked


def test_the_readme_is_short_and_links_to_the_index():
    assert len(read(README).splitlines()) <= 100
    assert "docs/index.md" in LINK.findall(read(README))


def test_the_stage_table_names_real_modules():
    table = [line for line in read(ROOT / "docs" / "training.md").splitlines() if re.match(r"\| \d ", line)]
    modules = [re.search(r"`((?:zipperasr|local)[\w.]+)", line)[1] for line in table]
    assert len(modules) == 10
    assert [module for module in modules if find_spec(module) is None] == []


def test_the_call_chain_of_stage_6_names_real_files_and_functions():
    page = read(ROOT / "docs" / "architecture.md").partition("## From the command")[2].partition("\n## ")[0]
    calls = re.findall(r"`([\w/]+\.(?:py|sh))`(?:: `(?:\w+\.)?(\w+)`)?", page)
    assert len(calls) >= 14
    for file, function in calls:
        (path,) = {(folder / file).resolve() for folder in (ROOT, PACKAGE, RECIPE) if (folder / file).is_file()}
        assert re.search(rf"^ *(def )?{function}\(", read(path), re.M) or not function, (file, function)
