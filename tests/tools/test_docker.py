"""tools/docker/Dockerfile: its files, packages and command exist; with IMAGE=1 and a builder, it is built."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.corpora.example import write_text
from tests.tools.test_constraints import named_in_setup, pins
from zipperasr.__main__ import COMMANDS, main

BUILDERS = {"docker": "build", "podman": "build", "buildah": "build"}


class Step(NamedTuple):
    """One instruction of the Dockerfile, continuation lines joined."""

    name: str
    value: str


@pytest.fixture(scope="module")
def dockerfile(root) -> Path:
    return root / "tools" / "docker" / "Dockerfile"


@pytest.fixture(scope="module")
def stages(dockerfile) -> list[list[Step]]:
    """The instructions of each build stage, FROM first; ARG before the first FROM is not used."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        step = Step(*line.split(" ", 1))
        if step.name == "FROM":
            found.append([])
        found[-1].append(step)
    return found


@pytest.fixture(scope="module")
def context(stages, root, tmp_path_factory) -> Path:
    """What the COPY instructions of the first stage put into the image."""
    directory = tmp_path_factory.mktemp("context")
    for source, target in copies(stages[0]):
        for file in [root / source] if (root / source).is_file() else (root / source).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                inner = file.name if file == root / source else file.relative_to(root / source)
                place = directory / target / inner
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
    return directory


def copies(stage: list[Step]) -> Iterator[tuple[str, str]]:
    """(source, target) of the files that a stage copies from the project."""
    for step in stage:
        if step.name == "COPY" and "--from" not in step.value:
            *sources, target = step.value.split()
            yield from ((source, target) for source in sources)


def commands(stages: list[list[Step]]) -> Iterator[list[str]]:
    """The simple commands of all RUN instructions."""
    for step in (step for stage in stages for step in stage if step.name == "RUN"):
        for command in re.split(r"&&|;|\|\|", step.value):
            words = [word for word in shlex.split(command) if word not in ("if", "then", "else", "fi")]
            if words:
                yield words


def test_every_file_that_is_copied_exists_and_is_sent_to_the_builder(stages, dockerfile, root):
    sent = {
        line[1:]
        for line in dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    sources = [source for source, _ in copies(stages[0])]
    assert [source for source in sources if not (root / source).exists()] == []
    assert {source.partition("/")[0] for source in sources} == sent
    assert list(copies(stages[1])) == []
    assert stages[0][0].value.endswith(" AS build")
    assert "--from=build" in [step.value.split()[0] for step in stages[1] if step.name == "COPY"]


def test_the_copied_files_suffice_for_the_installation(context):
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=context, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+\.\d+\.\d+", done.stdout.splitlines()[-1])
    version = subprocess.check_output(["bash", "-c", ". tools/torch_version.sh; echo ${torch_version}"], cwd=context)
    python = write_text(
        context / "python", "#!/bin/sh", f"echo {version.decode()}"
    )  # it has torch: nothing to download
    python.chmod(0o755)
    script = subprocess.run(["tools/install_torch.sh", python], cwd=context, capture_output=True, text=True)
    assert script.returncode == 0, script.stderr
    assert "is already installed" in script.stderr


def test_every_package_is_one_of_the_projects(stages, root):
    page = (root / "docs" / "install.md").read_text("utf-8")
    apt, pip = [], []
    for words in commands(stages):
        names = [word for word in words[words.index("install") + 1 :] if word[0] != "-"] if "install" in words else []
        if words[0] == "apt-get":
            apt += names
        elif words[0].endswith("/pip"):
            pip += names
    assert apt and [name for name in apt if f"`{name}`" not in page] == []
    known = {requirement.name for requirement in (*named_in_setup(root), *pins(root))}
    assert pip == ["torch", ".[serve]"]
    assert Requirement(f"zipperasr{pip[1][1:]}").extras <= extras(root)
    assert pip[0] in known


def extras(root: Path) -> set[str]:
    return set(re.findall(r'^        "(\w+)": [A-Z]+,$', (root / "setup.py").read_text("utf-8"), re.M))


def test_no_step_names_a_host(dockerfile, stages):
    assert {stage[0].value.split()[0] for stage in stages} == {"debian:trixie-slim"}
    assert set(re.findall(r"\w+://[^/' ]+", dockerfile.read_text("utf-8"))) == {"http://127.0.0.1:8000"}


def test_it_serves_a_mounted_bundle_as_an_ordinary_user(stages, capsys):
    last = {step.name: step.value for step in stages[-1]}
    assert last["USER"] == "zipperasr"
    names = [step.name for step in stages[-1]]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))
    (command,), words = json.loads(last["ENTRYPOINT"]), json.loads(last["CMD"])
    assert command == "zipperasr" and words[0] in COMMANDS
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options == {"--model": "/model.zip", "--host": "0.0.0.0", "--port": last["EXPOSE"]}
    with pytest.raises(SystemExit) as ended:
        main([words[0], "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in options)


def test_the_image_is_built_and_its_command_runs(dockerfile, root):
    if not os.environ.get("IMAGE"):
        pytest.skip("building an image downloads gigabytes: set IMAGE=1")
    found = [name for name in BUILDERS if shutil.which(name) and _works(name)]
    if not found:
        pytest.skip(f"none of {', '.join(BUILDERS)} works here")
    command = [found[0], "build", "--file", str(dockerfile), "--tag", "zipperasr-test", str(root)]
    assert subprocess.run(command).returncode == 0
    if found[0] != "buildah":
        said = subprocess.check_output([found[0], "run", "--rm", "zipperasr-test", "--help"], text=True)
        assert "zipperasr COMMAND" in said


def _works(builder: str) -> bool:
    return subprocess.run([builder, "info"], capture_output=True).returncode == 0
