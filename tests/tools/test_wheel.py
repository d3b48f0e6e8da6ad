"""The wheel, installed without the repository: its files and metadata are complete, and the commands run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.corpora.example import write_noise, write_text
from tests.model.conftest import backbones
from tests.transcribe.conftest import trained
from zipperasr.exchange.bundle import write_bundle

__all__ = ["backbones", "trained"]

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Built from a copy, because setuptools writes build/ next to setup.py and takes old files from there."""
    pytest.importorskip("setuptools", reason="setuptools is not installed, and nothing is downloaded")
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "zipperasr", source / "zipperasr", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(source / "dist")]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((source / "dist").glob("zipperasr-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The directory of the commands of a new environment, which has this environment's libraries and the wheel."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    options = ["--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options], check=True)
    return python.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def run(installed, environment, tmp_path) -> Run:
    """Run `zipperasr` in a directory outside the repository."""

    def call(*words: str | Path, status: int = 0) -> subprocess.CompletedProcess:
        command = [installed / "zipperasr", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.zip"
    write_bundle(trained, path)
    return path


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_it_has_every_file_of_the_package_and_no_other(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (root / "zipperasr").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert inside == {str(path.relative_to(root)) for path in files}
    assert {"zipperasr/py.typed", "zipperasr/exchange/key_map.tsv", "zipperasr/serve/assets/page.html"} <= inside


def test_its_metadata_are_complete(wheel, root):
    found = metadata(wheel)
    assert (found["License-Expression"], found["License-File"]) == ("Apache-2.0", "LICENSE")
    assert found["Requires-Python"] == ">=3.10"
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload().startswith("# zipperasr")
    assert found["Project-URL"].startswith("Paper, https://arxiv.org/abs/")
    pythons = [name.rpartition(" ")[2] for name in found.get_all("Classifier") if ":: Python ::" in name]
    (oldest, newest) = re.search(r"Python (3\.\d+)-(3\.\d+)", (root / "README.md").read_text("utf-8")).groups()
    assert [pythons[0], pythons[-1]] == [oldest, newest]
    assert {"serve", "lhotse", "vllm"} <= set(found.get_all("Provides-Extra"))
    assert 'starlette>=1.0; extra == "serve"' in found.get_all("Requires-Dist")


def test_the_package_is_imported_from_the_wheel(installed, environment, tmp_path):
    code = "import zipperasr, zipperasr.code_version as v; print(zipperasr.__file__); print(v.commit())"
    command = [installed / "python", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(next(installed.parent.glob("lib/*/*/zipperasr/__init__.py"))), ""]


def test_transcribing_scoring_and_evaluating(run, bundle, tmp_path):
    rows = []
    for number, text in enumerate(("ein Satz", "guten Tag")):
        write_noise(tmp_path / f"ana-{number}.wav", 0.6, seed=number)
        rows.append({"audio": f"ana-{number}.wav", "text": text, "lang": "de"})
    write_text(tmp_path / "own.jsonl", *map(json.dumps, rows))
    run("transcribe", "--model", bundle, "--lang", "de", "--format", "trn", "--out", "found", "ana-0.wav")
    hypothesis = (tmp_path / "found" / "ana-0.trn").read_text("utf-8").strip()
    write_text(tmp_path / "ref.trn", f"ein Satz {hypothesis[hypothesis.rindex('(') :]}")
    report = run("sclite", "-r", "ref.trn", "trn", "-h", "found/ana-0.trn", "trn", "-i", "rm", "-o", "sum", "stdout")
    assert "Sum/Avg" in report.stdout
    run("evaluate", "--model", bundle, "--data", "own.jsonl", "--out", "results.json")
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["languages"][0]["utts"] == 2


def test_serving(installed, environment, bundle, tmp_path):
    command = [installed / "zipperasr", "serve", "--model", bundle, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            said, url = [], None
            while url is None and (line := server.stderr.readline()):
                said.append(line)
                url = re.search(r"http://[\d.:]+", line)
            assert url, "".join(said)
            for path, wanted in (("/", b"<html"), ("/v1/models", b'"tiny.zip"')):
                with urllib.request.urlopen(url[0] + path, timeout=60) as answer:
                    assert wanted in answer.read()
        finally:
            server.send_signal(signal.SIGINT)
            server.stderr.read()
    assert server.returncode == 0


def test_a_command_that_needs_the_repository_says_so(run, tmp_path):
    write_text(tmp_path / "own.jsonl")
    error = run("new", "mine", "--train", "own.jsonl", "--test", "own.jsonl", status=1).stderr
    assert "not a checkout of the project, which has the recipes; clone it and install there" in error
