"""Every command reports invalid weights of a model in one line that names the file and the tensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.model import tiny
from tests.transcribe.sound import RATE, noise
from zipperasr.exchange import export, importer
from zipperasr.exchange import merged_model as merged
from zipperasr.exchange.archive import write_archive
from zipperasr.exchange.bundle import FORM
from zipperasr.model.experiment import Experiment, located
from zipperasr.model.experiment_model import build_for_training
from zipperasr.transcribe import __main__ as transcribe

TENSORS = {
    "exp/sft_zipper_soft/model.safetensors": "encoder.whisper.layers.1.fc2.b_specific",
    "exp/align/model.safetensors": "projector.gate.weight",
    "exp/backbones/llm/model.safetensors": "model.embed_tokens.weight",
    "exp/backbones/whisper/model.safetensors": "model.encoder.conv2.weight",
}


def damage(path: Path, name: str, value: float = float("nan")) -> None:
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(path)
    tensors[name].view(-1)[5] = value
    save_file(tensors, path, metadata=metadata)


def one_line(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(line) <= 500
    return line


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("command", ["transcribe", "merged", "peft", "bundle"])
def test_each_command_names_the_tensor(own_recipe, tmp_path, capsys, name, command, value):
    damage(own_recipe / name, TENSORS[name], value)
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    model = ["--model", str(own_recipe / "exp/sft_zipper_soft")]
    lang = [] if command == "bundle" else ["--lang", "de"]
    if command == "transcribe":
        status = transcribe.main([str(tmp_path / "a.wav"), *model, *lang])
    else:
        status = export.main([*model, "--format", command, *lang, "--out", str(tmp_path / "out.zip")])
    line = one_line(capsys)
    assert status == 1 and str(own_recipe / Path(name).parent) in line
    assert f"{TENSORS[name].removeprefix('model.encoder.')}: 1 of " in line and "values are NaN, infinite or" in line
    assert not (tmp_path / "out.zip").exists()


def test_values_of_a_bundle_are_checked_when_it_is_unpacked(own_recipe, tmp_path, capsys, monkeypatch):
    path, name = own_recipe / "exp/align/model.safetensors", "projector.gate.weight"
    out = tmp_path / "sound.zip"
    assert export.main(["--model", str(path.parent), "--format", "bundle", "--out", str(out)]) == 0
    assert importer.main(["--bundle", str(out), "--out", str(tmp_path / "sound")]) == 0
    damage(tmp_path / "sound/model.safetensors", name)
    files = {
        str(file.relative_to(tmp_path / "sound")): file for file in (tmp_path / "sound").rglob("*") if file.is_file()
    }
    write_archive(tmp_path / "evil.zip", files, {"form": FORM})
    capsys.readouterr()
    assert importer.main(["--bundle", str(tmp_path / "evil.zip"), "--out", str(tmp_path / "evil")]) == 1
    assert f"evil.zip: model.safetensors: {name}: 1 of " in one_line(capsys)
    assert not (tmp_path / "evil").exists()


def test_trainings_that_start_from_invalid_weights_name_them(own_recipe):
    soft = own_recipe / "exp/sft_zipper_soft"
    experiment = replace(located(Experiment.load(soft), soft), lid=tiny.lid_embeddings().repeat(1, 2)[:, :16])
    warm = replace(experiment, initial_b=str(soft), initial_parts=("b",))
    build_for_training(warm, torch.float32, seed=1)
    damage(soft / "model.safetensors", "encoder.whisper.layers.1.fc2.b_specific")
    with pytest.raises(
        ValueError, match=r"sft_zipper_soft/model.safetensors: .*fc2.b_specific: 1 of .* values are NaN"
    ):
        build_for_training(warm, torch.float32, seed=1)
    damage(own_recipe / "exp/align/model.safetensors", "projector.gate.weight")
    with pytest.raises(ValueError, match=r"align/model.safetensors: projector.gate.weight: 1 of .* values are NaN"):
        build_for_training(experiment, torch.float32, seed=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tensor: tensor.index_fill(0, torch.tensor(0), float("inf")),
            "values are NaN, infinite or beyond float32",
        ),
        (lambda tensor: tensor.double() + 1e300, "values are NaN, infinite or beyond float32"),
        (lambda tensor: tensor.to(torch.complex64), "got complex64, wanted"),
        (lambda tensor: tensor.to_sparse(), "got a sparse_coo tensor, wanted"),
        (
            lambda tensor: tensor[:1].clone().expand(tensor.shape),
            "values are stored; make it contiguous and save it again",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_values_of_a_foreign_checkpoint_are_checked(own_recipe, monkeypatch, capsys, change, said):
    monkeypatch.chdir(own_recipe)
    tensors = load_file("exp/sft_vanilla/model.safetensors")
    name = "encoder.whisper.layers.0.fc1.a"
    torch.save({**tensors, name: change(tensors[name])}, "foreign.pt")
    call = ["--inspect", "foreign.pt", "--model", "exp/align", "--lora", "vanilla", "--out", "exp/new"]
    assert importer.main(call) == 1
    line = one_line(capsys)
    assert f"foreign.pt: {name}: " in line and said in line
    assert not Path("exp/new").exists()


def test_values_of_a_merged_model_s_projector_are_checked(own_recipe, tmp_path):
    out = tmp_path / "merged"
    assert export.main(["--model", str(own_recipe / "exp/align"), "--format", "merged", "--out", str(out)]) == 0
    damage(out / "projector.safetensors", "norm.bias")
    with pytest.raises(ValueError, match=r"projector.safetensors: norm.bias: 1 of 16 values are NaN"):
        merged.load_merged(out)
    (out / "zipperasr.json").write_text("[]")
    with pytest.raises(
        ValueError, match=r"zipperasr.json: cannot be read as JSON \(got a JSON list, wanted an object\)"
    ):
        merged.load_merged(out)
