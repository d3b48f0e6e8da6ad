"""The config.yaml of a training or bundle is checked against the weights before the model is built."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from pathlib import Path

import pytest
import soundfile
import yaml
from safetensors.torch import load_file, save_file

from tests.model import tiny
from tests.transcribe.sound import RATE, noise
from zipperasr.exchange import export, importer
from zipperasr.exchange.archive import read_manifest, write_archive
from zipperasr.exchange.bundle import FORM
from zipperasr.model.experiment_model import load_model
from zipperasr.transcribe import __main__ as transcribe


@pytest.fixture(autouse=True)
def bounded():
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def edit(directory: Path, **changes: object) -> None:
    """Change values of config.yaml; `a__b` is key `b` of section `a`."""
    path = directory / "config.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        inner = tree
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


RANK = "has shape .*; correct the rank: the update is scaled by alpha / rank"
WRONG = {
    "model__encoder_lora__rank=2": ("sft_zipper_soft", rf"encoder_lora.rank: 2, but .*layers.0.fc1.a in .* {RANK}"),
    "model__encoder_lora__rank=1000000000": ("sft_zipper_soft", rf"encoder_lora.rank: 1000000000, but .* {RANK}"),
    "model__encoder_lora__rank=0": ("sft_zipper_soft", "rank: got 0, wanted at least 1"),
    "model__encoder_lora__alpha=.nan": ("sft_zipper_soft", "alpha: got nan, wanted a finite number above 0"),
    "model__encoder_lora__alpha=x": ("sft_zipper_soft", "alpha: got 'x', wanted a number"),
    "model__llm_lora__rank=8": ("align", rf"llm_lora.rank: 8, but .*lora_A.default.weight in .* {RANK}"),
    "model__llm_lora__rank=1000000000": ("align", rf"llm_lora.rank: 1000000000, but .* {RANK}"),
    "model__projector_dim=1000000": (
        "align",
        "with these backbones it implies at least .* trained parameters, but model.safe",
    ),
    "phase=other": ("sft_zipper_soft", "phase: got 'other', wanted align or sft"),
    "lora=null": ("sft_zipper_soft", "phase sft needs lora and init"),
    "init=null": ("sft_zipper_soft", "phase sft needs lora and init"),
    "lora=zip": ("sft_zipper_soft", "unknown lora 'zip'; choose from"),
    "languages=many": ("sft_zipper_soft", "languages: got 2,001, wanted at most 2,000"),
    "languages=some": ("sft_zipper_soft", r"2,000 languages, but .* has shape .*: too few banks; correct languages"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_configuration_of_a_training_must_match_its_weights(own_recipe, tmp_path, capsys, case):
    name, said = WRONG[case]
    key, _, value = case.partition("=")
    number = {"many": 2001, "some": 2000}.get(value)
    edit(
        own_recipe / "exp" / name,
        **{key: yaml.safe_load(value) if number is None else [f"l{i}" for i in range(number)]},
    )
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    model = ["--model", str(own_recipe / "exp/sft_zipper_soft"), "--lang", "de"]
    with pytest.raises(ValueError, match=rf"{name}/config.yaml: .*{said}"):
        load_model(own_recipe / "exp/sft_zipper_soft")
    for command in (
        lambda: transcribe.main([str(tmp_path / "a.wav"), *model]),
        lambda: export.main([*model, "--format", "peft", "--out", str(tmp_path / "out")]),
        lambda: export.main([*model[:2], "--format", "bundle", "--out", str(tmp_path / "out.zip")]),
    ):
        assert command() == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert f"{name}/config.yaml: " in line and len(line) <= 500
    assert not (tmp_path / "out.zip").exists() and not (tmp_path / "out").exists()


def test_a_rank_that_no_tensor_confirms_is_checked_by_size(own_recipe):
    directory = own_recipe / "exp/sft_zipper_soft"
    tensors = load_file(directory / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(".a")}
    save_file(kept, directory / "model.safetensors", metadata={"language_codes": json.dumps(tiny.CODES)})
    edit(directory, model__encoder_lora__rank=10**9)
    with pytest.raises(
        ValueError, match=r"implies at least [\d,]+ trained parameters, but model.safetensors contains [\d,]+"
    ):
        load_model(directory)


def test_widths_of_embeddings_are_checked_by_size(own_recipe):
    directory = own_recipe / "exp/sft_zipper_soft"
    tensors = load_file(directory / "model.safetensors")
    tensors["adapters.router.embeddings"] = tensors["adapters.router.embeddings"].new_zeros(3, 10**6)
    save_file(tensors, directory / "model.safetensors", metadata={"language_codes": json.dumps(tiny.CODES)})
    with pytest.raises(
        ValueError, match=r"implies at least [\d,]+ trained parameters, but model.safetensors contains [\d,]+"
    ):
        load_model(directory)


@pytest.mark.parametrize("key", ["model__encoder_lora__rank", "model__llm_lora__rank"])
def test_a_bundle_with_another_rank_is_not_unpacked(recipe_dir, tmp_path, capsys, key):
    name = "sft_zipper_soft" if "encoder" in key else "align"
    out = tmp_path / "sound"
    call = ["--model", str(recipe_dir / "exp" / name), "--format", "bundle", "--out", str(tmp_path / "sound.zip")]
    assert export.main(call) == 0
    assert importer.main(["--bundle", str(tmp_path / "sound.zip"), "--out", str(out)]) == 0
    edit(out, **{key: 2})
    files = {str(file.relative_to(out)): file for file in out.rglob("*") if file.is_file()}
    write_archive(tmp_path / "evil.zip", files, {"form": FORM})
    capsys.readouterr()
    assert importer.main(["--bundle", str(tmp_path / "evil.zip"), "--out", str(tmp_path / "evil")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert f"evil.zip: config.yaml: {key.split('__')[1]}.rank: 2, but " in line and len(line) <= 500
    assert not (tmp_path / "evil").exists()


def test_an_import_checks_the_rank_of_the_alignment_before_building_it(own_recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(own_recipe)
    call = ["--model", "exp/sft_vanilla", "--format", "peft", "--lang", "de", "--out", "peft"]
    assert export.main(call) == 0
    edit(own_recipe / "exp/align", model__encoder_lora__rank=10**9)
    capsys.readouterr()
    assert importer.main(["--peft", "peft/de", "--model", "exp/align", "--lora", "vanilla", "--out", "new"]) == 1
    said = "peft/de: got rank 4, wanted 1000000000, the alignment's encoder_lora.rank; use --rank 4 for a model"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("manifest", ["[" * 100_000, '{"files":' * 100_000])
def test_a_deeply_nested_manifest_is_reported_in_one_line(tmp_path, manifest):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(ValueError, match=r"m.zip: manifest.json cannot be read \(.*\); fetch the file again"):
        read_manifest(tmp_path / "m.zip")
