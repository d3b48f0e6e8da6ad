"""A key table converts a foreign checkpoint to the training directory it was made from, completely or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.exchange.outputs import distance, logits
from tests.model import tiny
from zipperasr.exchange.importer import main
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import VARIANTS

TABLE = r"""pattern	name	change
model\.enc\.(layers\..+)\.lora_down	encoder.whisper.\1.a	transpose
model\.enc\.(layers\..+)\.lora_up	encoder.whisper.\1.b_shared	-
model\.enc\.(layers\..+)\.lora_up_lang\.(\w+)	encoder.whisper.\1.b_specific[\2]	-
model\.enc\.(layers\..+)\.gate\.(weight|bias)	adapters.router.\2[\1]	-
model\.lid\.(\w+)	adapters.router.embeddings[\1]	-
model\.(projector\..+)	\1	-
model\.llm\.(.+)\.(lora_[AB])	llm.base_model.model.\1.\2.default.weight	-
model\.step	-	-
"""


@pytest.fixture
def recipe(own_recipe, monkeypatch) -> Path:
    monkeypatch.chdir(own_recipe)
    Path("map.tsv").write_text(TABLE, encoding="utf-8")
    return own_recipe


def foreign_names(layers: list[str]) -> dict[str, torch.Tensor]:
    """The zipper_soft training in another layout: one bank per language, one router per layer, A transposed."""
    out = {"model.step": torch.tensor(7)}
    for name, tensor in load_file("exp/sft_zipper_soft/model.safetensors").items():
        layer = re.sub(r"encoder\.whisper\.(layers\..+)\..*", r"model.enc.\1", name)
        if name.endswith(".a"):
            out[f"{layer}.lora_down"] = tensor.T.contiguous()
        elif name.endswith(".b_shared"):
            out[f"{layer}.lora_up"] = tensor
        elif name.endswith(".b_specific"):
            out |= {f"{layer}.lora_up_lang.{code}": bank for code, bank in zip(tiny.CODES, tensor, strict=True)}
        elif name == "adapters.router.embeddings":
            out |= {f"model.lid.{code}": vector for code, vector in zip(tiny.CODES, tensor, strict=True)}
        elif name.startswith("adapters.router."):
            kind = name.rpartition(".")[2]
            out |= {f"model.enc.{layer}.gate.{kind}": part for layer, part in zip(layers, tensor, strict=True)}
        elif name.startswith("llm."):
            out["model." + name.replace("base_model.model.", "", 1).removesuffix(".default.weight")] = tensor
        else:
            out[f"model.{name}"] = tensor
    return {name: tensor.clone() for name, tensor in out.items()}


@pytest.fixture
def foreign(recipe) -> dict[str, torch.Tensor]:
    return foreign_names(list(load_pretrained("exp/sft_zipper_soft").model.adapters.layers))


CALL = ["--inspect", "foreign.pt", "--map", "map.tsv", "--model", "exp/align", "--lora", "zipper_soft"]


def rows(printed: str) -> list[list[str]]:
    header, *lines = [line.split("\t") for line in printed.splitlines()]
    assert header == ["state", "tensor", "got", "ours", "wanted"]
    return lines


def test_a_foreign_checkpoint_becomes_the_same_training(recipe, foreign, capsys):
    routers = {name: tensor.half() for name, tensor in foreign.items() if ".gate." in name and "enc" in name}
    torch.save({"state_dict": {**foreign, **routers}}, "foreign.pt")
    assert main([*CALL, "--out", "exp/new"]) == 0
    assert {row[0] for row in rows(capsys.readouterr().out)} == {"mapped", "dropped"}
    new, old = (load_file(f"exp/{name}/model.safetensors") for name in ("new", "sft_zipper_soft"))
    assert new.keys() == old.keys()
    for name, tensor in old.items():
        wanted = tensor.half().float() if name in ("adapters.router.weight", "adapters.router.bias") else tensor
        assert torch.equal(new[name], wanted), name
    assert load_pretrained("exp/new").languages.codes == list(tiny.CODES)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_our_own_files_need_no_key_table(recipe, variant, capsys):
    weights = f"exp/sft_{variant}/model.safetensors"
    call = ["--inspect", weights, "--model", "exp/align", "--lora", variant, "--out", "exp/new"]
    assert main(call) == 0
    assert Path("exp/new/model.safetensors").read_bytes() == Path(weights).read_bytes()
    before, after = (load_pretrained(f"exp/{name}").model for name in (f"sft_{variant}", "new"))
    assert distance(logits(before), logits(after)) == 0.0


def test_an_alignment_can_be_imported_with_model_yaml(recipe):
    config = yaml.safe_load(Path("exp/align/config.yaml").read_text(encoding="utf-8"))
    Path("model.yaml").write_text(yaml.safe_dump(config["model"]), encoding="utf-8")
    call = ["--inspect", "exp/align/model.safetensors", "--model", "model.yaml", "--regime", "full", "--out", "exp/new"]
    assert main([*call, "--languages", "exp/align/languages.tsv"]) == 0
    assert Path("exp/new/config.yaml").read_text() == Path("exp/align/config.yaml").read_text()
    assert distance(logits(load_pretrained("exp/new").model), logits(load_pretrained("exp/align").model)) == 0.0


def test_every_kind_of_mismatch_is_reported_and_nothing_is_written(recipe, foreign, capsys):
    layer = "model.enc.layers.0.fc1"
    del foreign[f"{layer}.lora_up"]
    del foreign[f"{layer}.lora_up_lang.ja"]
    foreign[f"{layer}.lora_up_lang.xx"] = torch.ones(24, 4)
    foreign[f"{layer}.lora_down"] = foreign[f"{layer}.lora_down"].T.contiguous()
    foreign["model.extra"] = torch.ones(2, 1, dtype=torch.bfloat16)
    foreign["model.projector.more"] = torch.ones(1)
    torch.save(foreign, "foreign.pt")
    assert main([*CALL, "--out", "exp/new"]) == 1
    captured = capsys.readouterr()
    wrong = [row for row in rows(captured.out) if row[0] not in ("mapped", "dropped")]
    ours = "encoder.whisper.layers.0.fc1"
    assert sorted(wrong) == sorted(
        [
            ["missing", "-", "-", f"{ours}.b_shared", "[24, 4]"],
            ["missing", "-", "-", f"{ours}.b_specific[ja]", "[24, 4]"],
            ["misshapen", f"{layer}.lora_down", "[4, 16] float32 transposed", f"{ours}.a", "[4, 16]"],
            ["unknown", f"{layer}.lora_up_lang.xx", "[24, 4] float32", f"{ours}.b_specific[xx]", "-"],
            ["unknown", "model.projector.more", "[1] float32", "projector.more", "-"],
            ["unmapped", "model.extra", "[2, 1] bfloat16", "-", "-"],
        ]
    )
    assert "6 tensors do not fit: " in captured.err and "complete the key table (--map)" in captured.err
    assert "2 missing" in captured.err and "1 misshapen" in captured.err
    assert not Path("exp/new").exists()


def test_two_tensors_for_one_parameter_are_an_error(recipe, foreign, capsys):
    foreign["model.enc.layers.0.fc1.lora_up_lang.de.copy"] = foreign["model.enc.layers.0.fc1.lora_up_lang.de"]
    line = r"model\.enc\.(layers\..+)\.lora_up_lang\.(\w+)\.copy	encoder.whisper.\1.b_specific[\2]	-"
    whole = r"model\.whole	encoder.whisper.layers.0.fc2.b_specific	-"
    foreign["model.whole"] = torch.ones(3, 16, 4)
    Path("map.tsv").write_text(f"{TABLE}{line}\n{whole}\n", encoding="utf-8")
    torch.save(foreign, "foreign.pt")
    assert main([*CALL, "--out", "exp/new"]) == 1
    twice = [row[3] for row in rows(capsys.readouterr().out) if row[0] == "twice"]
    banks = [f"encoder.whisper.layers.0.fc2.b_specific[{code}]" for code in tiny.CODES]
    assert twice == ["encoder.whisper.layers.0.fc1.b_specific[de]", *banks]


def test_tensors_are_listed_without_a_model(recipe, capsys):
    save_file({"projector.norm.bias": torch.ones(2), "other": torch.ones(1)}, "x.safetensors")
    assert main(["--inspect", "x.safetensors"]) == 0
    captured = capsys.readouterr()
    assert rows(captured.out) == [
        ["unmapped", "other", "[1] float32", "-", "-"],
        ["mapped", "projector.norm.bias", "[2] float32", "projector.norm.bias", "-"],
    ]
    assert "to list missing tensors too, give --model" in captured.err


@pytest.mark.slow
def test_a_checkpoint_written_by_deepspeed_can_be_imported(recipe, root):
    script = """
import sys
from zipperasr.config import load_yaml
from zipperasr.model.build import set_trainable
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.train.train_config import TrainConfig
from zipperasr.train.engine import make_engine, start_ranks
start_ranks()
model = load_pretrained("exp/sft_zipper_soft").model.train()
set_trainable(model, "sft")
engine, _ = make_engine(model, load_yaml(TrainConfig, sys.argv[1]))
engine.save_checkpoint("ds", tag="global_step0", exclude_frozen_parameters=True)
"""
    config = root / "egs2/zipper12/asr1/conf/mini/sft.yaml"
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script, config], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert main(["--inspect", "ds", "--model", "exp/align", "--lora", "zipper_soft", "--out", "exp/new"]) == 0
    new, old = (load_file(f"exp/{name}/model.safetensors") for name in ("new", "sft_zipper_soft"))
    assert new.keys() == old.keys() and all(torch.equal(new[name], old[name]) for name in old)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["--bundle", "m.zip"], "--out is required; give a new training directory"),
        (["--peft", "x"], "--out is required; give a new training directory"),
        (["--inspect", "x", "--out", "exp"], "exp already exists; remove it or choose another --out"),
        (["--inspect", "W", "--out", "new"], "--out needs --model: the directory of an alignment, with --lora, or"),
        (["--inspect", "W", "--model", "exp/align"], "--lora is required; give the LoRA variant to add"),
        (["--inspect", "W", "--model", "map.tsv", "--lora", "vanilla", "--languages", "exp/align/languages.tsv"],
         "--lora needs --model with the output directory of stage 5; map.tsv is not one"),
        (["--inspect", "W", "--model", "map.tsv"], "no language table; give --languages conf/languages.tsv"),
    ],
)  # fmt: skip
def test_wrong_options_are_reported_in_one_line(recipe, capsys, call, said):
    weights = "exp/sft_vanilla/model.safetensors"
    assert main([weights if word == "W" else word for word in call]) == 1
    assert said in capsys.readouterr().err
    assert not Path("new").exists()
