"""Commands load heavy libraries only when they need them: --help, preflight and skipped stages start quickly."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "deepspeed", "sklearn", "scipy", "matplotlib", "torch._dynamo")
WITHOUT_TORCH = (  # modules whose --help needs none of these
    "zipperasr.stages.build_manifest",
    "zipperasr.stages.clock",
    "zipperasr.stages.decode",
    "zipperasr.stages.format_audio",
    "zipperasr.stages.prepare_data",
    "zipperasr.stages.report",
    "zipperasr.stages.score",
    "zipperasr.evaluate.__main__",
    "zipperasr.exchange.export",
    "zipperasr.report.html.__main__",
    "zipperasr.score.sclite.__main__",
    "zipperasr.serve.__main__",
    "zipperasr.stats.compare",
    "zipperasr.transcribe.__main__",
)
SKIPS = (  # modules that find out whether a stage's output is up to date
    "zipperasr.batching.build_manifests",
    "zipperasr.lid.embeddings",
    "zipperasr.train.run_request",
    "zipperasr.decode.decode_experiment",
)
PROGRAM = f"""
import contextlib, importlib, io, json, sys

def help_of(name):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        importlib.import_module(name).main(["--help"])

def loaded():
    return [name for name in {HEAVY} if name in sys.modules]

found = {{}}
for name in {WITHOUT_TORCH}:
    help_of(name)
    found[name] = loaded()
status = importlib.import_module("zipperasr.stages.preflight").main(["--conf", "conf/full", "--stages", "5", "6"])
found["preflight"] = [status, *loaded()]
for name in ("zipperasr.stages.language_embeddings", "zipperasr.stages.train"):
    help_of(name)
    found[name] = loaded()
for name in {SKIPS}:
    importlib.import_module(name)
    found[name] = loaded()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded(root, recipe) -> dict[str, list[str]]:
    """The heavy libraries that are loaded after each step, all in one process."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}){PROGRAM}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=recipe)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_help_needs_no_torch(loaded, module):
    assert loaded[module] == []


def test_preflight_reads_the_configuration_with_torch_alone(loaded):
    assert loaded["preflight"] == [0, "torch"]


@pytest.mark.parametrize("module", ["zipperasr.stages.language_embeddings", "zipperasr.stages.train", *SKIPS])
def test_the_help_of_training_and_skipped_stages_need_torch_alone(loaded, module):
    assert loaded[module] == ["torch"]
