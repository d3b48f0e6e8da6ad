"""The lowest versions that setup.py allows: all modules, a training step with and without DeepSpeed, decoding.

.venv-lowest is created by `make lowest` only, because it takes minutes and gigabytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Prints a line for each module that cannot be imported.
IMPORT_ALL = """
import importlib, pkgutil, sys, traceback
import zipperasr
for module in pkgutil.walk_packages(zipperasr.__path__, "zipperasr."):
    optional = module.name.startswith(("zipperasr.serve", "zipperasr.decode.vllm_no_repeat"))  # need extras
    if not optional and not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            print(f"{module.name}: {type(error).__name__}: {error}")
"""
LIGHT_TESTS = (
    *("score/test_normalise.py", "score/test_diagnose.py", "score/test_jiwer_check.py"),
    *("prepare/test_dataset_table.py", "audio/test_load.py", "audio/test_ark.py", "batching/test_manifest.py"),
)
INSTALLED = """
import sys
from importlib.metadata import version
for line in open(sys.argv[1], encoding="utf-8"):
    name, _, wanted = line.strip().partition("==")
    print(f"{name}=={version(name)}")
"""


@pytest.fixture
def lowest_versions(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "tools")
    from lowest_versions import lowest_versions

    return lowest_versions


@pytest.fixture(scope="module")
def lowest(root):
    """Run .venv-lowest's Python in the checkout, without a GPU; returns its output."""
    venv = root / ".venv-lowest"
    if not (venv / "lowest.txt").is_file():
        pytest.skip("no .venv-lowest; run `make lowest` (minutes, up to 5 GB)")
    listed = subprocess.check_output([sys.executable, root / "tools" / "lowest_versions.py"], text=True)
    if (venv / "lowest.txt").read_text(encoding="utf-8") != listed:
        pytest.skip(".venv-lowest does not match the bounds in setup.py; rerun `make lowest`")
    settings = {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    environment = {**os.environ, **settings, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [venv / "bin" / "python", *arguments], capture_output=True, text=True, env=environment, cwd=root
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_every_requirement_has_a_lower_bound(lowest_versions):
    found = lowest_versions()
    assert len(found) > 20
    assert found["torch"] == "2.11"  # the first version whose varlen_attn accepts scale and window_size


def test_a_requirement_without_a_lower_bound_is_an_error(lowest_versions, tmp_path):
    (tmp_path / "setup.py").write_text('REQUIRED = ["torch>=2.11", "scipy"]\n', encoding="utf-8")
    with pytest.raises(ValueError, match="got 'scipy' in REQUIRED, wanted name>=version"):
        lowest_versions(tmp_path / "setup.py")


def test_the_environment_has_the_lowest_versions(lowest, lowest_versions, root):
    installed = dict(line.split("==") for line in lowest("-c", INSTALLED, root / ".venv-lowest" / "lowest.txt").split())
    for name, version in lowest_versions().items():
        public = installed[name].partition("+")[0]
        assert public.startswith(version) and set(public.removeprefix(version)) <= {".", "0"}, (name, public, version)


def test_every_module_can_be_imported_with_the_lowest_versions(lowest):
    assert lowest("-c", IMPORT_ALL) == ""


def test_ragged_attention_s_arguments_exist_in_the_lowest_torch(lowest):
    asked = "import inspect; from torch.nn.attention import varlen; print(inspect.signature(varlen.varlen_attn))"
    signature = lowest("-c", asked)
    assert " scale: " in signature and " window_size: " in signature


def test_training_and_decoding_run_with_the_lowest_versions(lowest, tmp_path):
    page = tmp_path / "RESULTS.md"
    few = ("--size", "tiny", "--rounds", "1", "--warmup", "0", "--threads", "1", "--results", page)
    lowest("benchmarks/full_step.py", "--packs", "1", *few)
    lowest("benchmarks/zero_step.py", "--packs", "1", *few)
    lowest("benchmarks/decode.py", "--utterances", "3", "--peer_batches", "2", "--regime", "chunked", *few)
    text = page.read_text(encoding="utf-8")
    assert "| gradient norm, router | " in text
    assert "## ZeRO-2 step, tiny, cpu, bfloat16\n" in text
    assert "\n| ours, batch size 32 | " in text
    assert "torch 2.11.0" in text


def test_the_tests_to_run_with_the_lowest_versions_exist(root):
    assert [file for file in LIGHT_TESTS if not (root / "tests" / file).is_file()] == []


def test_tests_of_scoring_audio_and_manifests_pass_with_the_lowest_versions(lowest):
    lowest("-m", "pytest", "-p", "no:cacheprovider", *(f"tests/{file}" for file in LIGHT_TESTS))
