"""Every command that reads a damaged safetensors file reports it in one line that names the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.model import tiny
from tests.transcribe.sound import RATE, noise
from zipperasr.exchange import export, importer
from zipperasr.exchange import merged_model as merged
from zipperasr.model.checkpoint import count_trained
from zipperasr.model.experiment import Experiment, located
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.model.weights_file import load_weights
from zipperasr.transcribe import __main__ as transcribe

SFT, ALIGN = "exp/sft_zipper_soft/model.safetensors", "exp/align/model.safetensors"
BACKBONES = ("exp/backbones/llm/model.safetensors", "exp/backbones/whisper/model.safetensors")
DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut header": lambda content: content[:20],
    "garbage header": lambda content: content[:8] + b"x" * (len(content) - 8),
    "garbage": lambda content: b"<html>" * 99,
    "huge header": lambda content: b"\xff" * 8 + content[8:],
}


@pytest.fixture
def damaged(own_recipe):
    def damage(name: str, kind: str = "cut") -> Path:
        path = own_recipe / name
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
        return path

    return damage


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_damage_is_a_value_error(damaged, kind):
    path = damaged(SFT, kind)
    with pytest.raises(
        ValueError, match=r"sft_zipper_soft/model\.safetensors: damaged, or not a safetensors file"
    ) as e:
        load_weights(path)
    assert len(str(e.value).replace(str(path), "")) < 400


@pytest.mark.parametrize("name", [SFT, ALIGN, *BACKBONES])
@pytest.mark.parametrize("command", ["transcribe", "merged", "peft", "bundle"])
def test_each_command_reports_it_in_one_line(own_recipe, damaged, tmp_path, capsys, name, command):
    path = damaged(name)
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    model = ["--model", str(own_recipe / "exp/sft_zipper_soft")]
    lang = [] if command == "bundle" else ["--lang", "de"]
    if command == "transcribe":
        status = transcribe.main([str(tmp_path / "a.wav"), *model, *lang])
    else:
        status = export.main([*model, "--format", command, *lang, "--out", str(tmp_path / "out.zip")])
    assert status == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert f"{path}: damaged, or not a safetensors file" in line
    assert not (tmp_path / "out.zip").exists()


def test_stages_6_7_and_9_name_the_file(own_recipe, damaged):
    directory = own_recipe / "exp/sft_zipper_soft"
    experiment = replace(located(Experiment.load(directory), directory), lid=tiny.lid_embeddings())
    whole = (own_recipe / ALIGN).read_bytes()
    damaged(SFT), damaged(ALIGN)
    with pytest.raises(ValueError, match=r"exp/align/model\.safetensors: damaged"):
        build_for_training(experiment, torch.float32, seed=1)
    (own_recipe / ALIGN).write_bytes(whole)
    with pytest.raises(ValueError, match=r"exp/sft_zipper_soft/model\.safetensors: damaged"):
        load_model(directory)
    with pytest.raises(ValueError, match=r"exp/sft_zipper_soft/model\.safetensors: damaged"):
        count_trained(own_recipe / SFT)


def test_import_names_the_alignment_s_file(own_recipe, damaged, tmp_path, capsys):
    out = tmp_path / "peft"
    assert export.main(["--model", str(own_recipe / "exp/sft_zipper_soft"), "--format", "peft", "--lang", "de",
                        "--out", str(out)]) == 0  # fmt: skip
    path = damaged(ALIGN)
    call = ["--peft", str(out / "de"), "--model", str(own_recipe / "exp/align"), "--lora", "vanilla"]
    assert importer.main([*call, "--out", str(tmp_path / "new")]) == 1
    assert f"{path}: damaged, or not a safetensors file" in capsys.readouterr().err


def test_a_merged_model_names_its_projector(own_recipe, tmp_path):
    out = tmp_path / "merged"
    assert export.main(["--model", str(own_recipe / "exp/align"), "--format", "merged", "--out", str(out)]) == 0
    (out / "projector.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"projector\.safetensors: damaged"):
        merged.load_merged(out)


@pytest.mark.parametrize("codes", ["{", "3", '"de"', "[1]", "[" * 100_000])
def test_language_codes_must_be_a_list(own_recipe, codes):
    path = own_recipe / SFT
    save_file(load_file(path), path, metadata={"language_codes": codes})
    with pytest.raises(ValueError, match=r"model\.safetensors: got language_codes .*, wanted a JSON list") as caught:
        load_model(path.parent)
    assert len(str(caught.value)) < 500


def test_embeddings_must_be_a_matrix(own_recipe):
    path = own_recipe / SFT
    tensors = load_file(path)
    tensors["adapters.router.embeddings"] = torch.zeros(3)
    save_file(tensors, path, metadata={"language_codes": json.dumps(tiny.CODES)})
    with pytest.raises(ValueError, match=r"router\.embeddings: got shape \[3\], wanted two dimensions"):
        load_model(path.parent)


@pytest.mark.parametrize("content", [b"", b"garbage", b"<html>"])
def test_torch_files_of_a_backbone_are_reported_in_one_line(own_recipe, content):
    weights = own_recipe / BACKBONES[0]
    weights.unlink()
    weights.with_name("pytorch_model.bin").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"backbones/llm: pickled files that contain more than tensors; fetch the model"
    ):
        load_model(own_recipe / "exp/align")
