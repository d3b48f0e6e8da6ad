"""A bundle can be opened like the training directory it was made from, on any machine and with ESPnet."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.exchange.outputs import distance, logits
from tests.model import tiny
from zipperasr.exchange import importer
from zipperasr.exchange.archive import read_manifest, write_archive
from zipperasr.exchange.bundle import open_bundle
from zipperasr.exchange.export import main
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import LORA_CHOICES, VARIANTS
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training
from zipperasr.transcribe import Transcriber


def bundle(training: Path, out: Path, *options: str) -> Path:
    assert main(["--model", str(training), "--format", "bundle", "--out", str(out), *options]) == 0
    return out


@pytest.mark.parametrize("variant", sorted(LORA_CHOICES))
def test_outputs_are_identical_without_the_recipe(own_recipe, tmp_path, monkeypatch, variant):
    before = load_pretrained(own_recipe / f"exp/sft_{variant}")
    path = bundle(own_recipe / f"exp/sft_{variant}", tmp_path / "m.zip")
    shutil.rmtree(own_recipe)
    monkeypatch.chdir(tmp_path)
    opened = load_pretrained(path)
    assert distance(logits(opened.model), logits(before.model)) == 0.0
    assert list(opened.languages) == list(before.languages)
    assert opened.tokenizer("ein").input_ids == before.tokenizer("ein").input_ids
    if variant in VARIANTS and VARIANTS[variant].routed:
        assert torch.equal(opened.model.adapters.router.embeddings, before.model.adapters.router.embeddings)


def test_it_keeps_the_longest_training_clips(own_recipe, tmp_path):
    config = own_recipe / "exp/sft_vanilla/config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**tree, "longest_s": 8.75}), encoding="utf-8")
    path = bundle(own_recipe / "exp/sft_vanilla", tmp_path / "m.zip")
    assert importer.main(["--bundle", str(path), "--out", str(tmp_path / "imported")]) == 0
    assert Experiment.load(tmp_path / "imported").longest_s == 8.75
    assert Transcriber(load_pretrained(path)).longest_s == 8.75


def test_an_alignment_can_be_bundled(recipe_dir, tmp_path):
    path = bundle(recipe_dir / "exp/align", tmp_path / "m.zip")
    before = load_pretrained(recipe_dir / "exp/align").model
    assert distance(logits(load_pretrained(path).model), logits(before)) == 0.0


def test_backbones_of_another_recipe_are_not_bundled(recipe_dir, tmp_path, monkeypatch):
    path = bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "m.zip")
    before = load_pretrained(recipe_dir / "exp/sft_vanilla").model
    tiny.write_backbones(tmp_path / "elsewhere" / "backbones", seed=9)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert distance(logits(load_pretrained(path).model), logits(before)) == 0.0


def test_it_contains_no_local_path(recipe_dir, tmp_path):
    path = bundle(recipe_dir / "exp/sft_zipper_soft", tmp_path / "m.zip")
    directory = open_bundle(path)
    for file in directory.rglob("*"):
        if file.suffix in (".yaml", ".json", ".md"):
            assert str(recipe_dir) not in file.read_text(encoding="utf-8"), file
    assert "Apache-2.0" in (directory / "LICENCES.md").read_text(encoding="utf-8")


def test_the_origin_of_b_is_kept_without_its_path(own_recipe, tmp_path):
    config = own_recipe / "exp/sft_zipper_soft/config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    tree.update(initial_b="/somebody/exp/soft", initial_parts=["b"])
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    directory = open_bundle(bundle(own_recipe / "exp/sft_zipper_soft", tmp_path / "m.zip"))
    assert Experiment.load(directory).initial_b == "soft"


def test_equal_trainings_give_identical_bundles(recipe_dir, own_recipe, tmp_path):
    one = bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "1.zip")
    other = bundle(own_recipe / "exp/sft_vanilla", tmp_path / "2.zip")
    assert one.read_bytes() == other.read_bytes()


def test_it_is_unpacked_once(recipe_dir, tmp_path):
    path = bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "m.zip")
    first = open_bundle(path)
    inode = (first / "model.safetensors").stat().st_ino
    assert open_bundle(path) == first
    assert (first / "model.safetensors").stat().st_ino == inode
    assert [entry.name for entry in (tmp_path / "cache/zipperasr").iterdir()] == [first.name]


def test_import_unpacks_it_to_a_training_directory(recipe_dir, tmp_path):
    path = bundle(recipe_dir / "exp/sft_zipper_hard", tmp_path / "m.zip")
    assert importer.main(["--bundle", str(path), "--out", str(tmp_path / "exp/hard")]) == 0
    before = load_pretrained(recipe_dir / "exp/sft_zipper_hard").model
    assert distance(logits(load_pretrained(tmp_path / "exp/hard").model), logits(before)) == 0.0


def test_espnet_unpacks_it_and_what_it_unpacked_opens(recipe_dir, tmp_path):
    pack_funcs = pytest.importorskip("espnet2.main_funcs.pack_funcs", reason="no ESPnet: run tools/install_espnet.sh")
    path = bundle(recipe_dir / "exp/sft_independent", tmp_path / "m.zip")
    files = pack_funcs.unpack(path, tmp_path / "espnet")
    assert Path(files["asr_model_file"]).name == "model.safetensors"
    assert Path(files["asr_train_config"]).name == "config.yaml"
    assert pack_funcs.unpack(path, tmp_path / "espnet") == files  # the second time from its cache
    before = load_pretrained(recipe_dir / "exp/sft_independent").model
    opened = load_pretrained(Path(files["asr_model_file"]).parent).model
    assert distance(logits(opened), logits(before)) == 0.0


@pytest.fixture
def hub(recipe_dir, tmp_path, monkeypatch) -> Path:
    """A Hugging Face cache that contains the backbones under ids."""
    import huggingface_hub.constants as constants

    for name in ("whisper", "llm"):
        entry = tmp_path / "hub" / f"models--tiny--{name}"
        (entry / "refs").mkdir(parents=True)
        (entry / "refs/main").write_text("0" * 40)
        shutil.copytree(recipe_dir / "exp/backbones" / name, entry / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_backbones_with_a_hub_id_are_taken_from_the_cache(own_recipe, tmp_path, hub):
    for training in ("align", "sft_vanilla"):
        config = own_recipe / "exp" / training / "config.yaml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("exp/backbones/", "tiny/"), encoding="utf-8")
    path = bundle(own_recipe / "exp/sft_vanilla", tmp_path / "m.zip")
    directory = open_bundle(path)
    for name in ("whisper", "llm"):
        held = load_file(directory / "backbones" / name / "model.safetensors")
        original = load_file(own_recipe / "exp/backbones" / name / "model.safetensors")
        assert all(torch.equal(held[key], original[key]) for key in original)


def test_backbones_can_be_referenced_instead_of_included(recipe_dir, tmp_path):
    ids = ("--hub-whisper", "tiny/whisper", "--hub-llm", "tiny/llm")
    path = bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "m.zip", *ids)
    manifest = read_manifest(path)
    assert manifest["backbones"] == {"whisper": "tiny/whisper", "llm": "tiny/llm"}
    assert not [name for name in manifest["files"] if name.startswith("backbones")]
    directory = open_bundle(path)
    for training in (directory, directory / "init"):
        model = Experiment.load(training).model
        assert (model.whisper, model.llm) == ("tiny/whisper", "tiny/llm")
    assert "| tiny/llm |" in (directory / "LICENCES.md").read_text(encoding="utf-8")


def test_pickled_backbones_are_rejected(own_recipe, tmp_path, capsys):
    weights = own_recipe / "exp/backbones/llm/model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    out = tmp_path / "m.zip"
    assert main(["--model", str(own_recipe / "exp/sft_vanilla"), "--format", "bundle", "--out", str(out)]) == 1
    assert "no *.safetensors, and a bundle cannot contain pickled weights" in capsys.readouterr().err
    assert not out.exists()


def test_a_training_and_its_alignment_must_name_the_same_backbones(own_recipe, tmp_path, capsys):
    tiny.write_backbones(own_recipe / "exp/others", seed=2)
    config = own_recipe / "exp/sft_vanilla/config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("exp/backbones/llm", "exp/others/llm"), encoding="utf-8")
    call = ["--model", str(own_recipe / "exp/sft_vanilla"), "--format", "bundle", "--out", str(tmp_path / "m.zip")]
    assert main(call) == 1
    assert "it and the trainings that it started from have different backbones" in capsys.readouterr().err


def test_a_missing_language_table_is_an_error(own_recipe, tmp_path, capsys):
    (own_recipe / "exp/sft_vanilla/languages.tsv").unlink()
    call = ["--model", str(own_recipe / "exp/sft_vanilla"), "--format", "bundle", "--out", str(tmp_path / "m.zip")]
    assert main(call) == 1
    assert "languages.tsv: missing; copy the recipe's conf/languages.tsv there" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/somebody/else", "../else", "~/else"])
@pytest.mark.parametrize("key", ["whisper", "llm", "init", "init_from", "initial_b"])
def test_a_bundle_that_refers_to_files_outside_is_rejected(recipe_dir, tmp_path, key, path):
    directory = open_bundle(bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "m.zip"))
    config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    (config["model"] if key in config["model"] else config)[key] = path
    files = {str(file.relative_to(directory)): file for file in directory.rglob("*") if file.is_file()}
    files["config.yaml"] = yaml.safe_dump(config).encode()
    write_archive(tmp_path / "evil.zip", files, {"form": "zipperasr bundle 1"})
    with pytest.raises(ValueError, match=rf"evil.zip: config.yaml: refers to {path}, which is outside the bundle; ask"):
        load_pretrained(tmp_path / "evil.zip")
    assert [entry.name for entry in (tmp_path / "cache/zipperasr").iterdir()] == [directory.name]


def test_a_valid_archive_of_another_kind_is_rejected(tmp_path):
    write_archive(tmp_path / "m.zip", {"a.txt": b"a"}, {"form": "other"})
    with pytest.raises(ValueError, match=r"m.zip: manifest.json: got form 'other', wanted 'zipperasr bundle 1'"):
        load_pretrained(tmp_path / "m.zip")
    assert not os.path.exists(tmp_path / "cache")


def test_a_zip_without_meta_yaml_is_rejected(tmp_path):
    """Unpacked, it would look like a training of a recipe, which may refer to any path."""
    write_archive(tmp_path / "m.zip", {"config.yaml": b""}, {"form": "zipperasr bundle 1"})
    with pytest.raises(
        ValueError, match=r"m.zip: no meta.yaml; it was not written by `zipperasr export --format bundle`"
    ):
        load_pretrained(tmp_path / "m.zip")


@pytest.fixture
def unpacked(recipe_dir, tmp_path, monkeypatch):
    """An unpacked bundle and a function that changes its configuration; the working directory is a recipe."""
    directory = tmp_path / "unpacked"
    assert importer.main(["--bundle", str(bundle(recipe_dir / "exp/sft_vanilla", tmp_path / "m.zip")),
                          "--out", str(directory)]) == 0  # fmt: skip
    monkeypatch.chdir(recipe_dir)

    def change(name: str = "", **changes: str) -> Path:
        config = directory / name / "config.yaml"
        tree = yaml.safe_load(config.read_text(encoding="utf-8"))
        for key, value in changes.items():
            (tree["model"] if key in tree["model"] else tree)[key] = value
        config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return directory

    return change


@pytest.mark.parametrize("path", ["{recipe}/exp/backbones/llm", "../recipe/llm", "~/llm", "a/../../llm"])
@pytest.mark.parametrize("key", ["whisper", "llm", "init", "init_from", "initial_b"])
@pytest.mark.parametrize("training", ["", "init"])
def test_an_unpacked_bundle_does_not_read_files_outside(unpacked, recipe_dir, training, key, path):
    directory = unpacked(training, **{key: path.format(recipe=recipe_dir)})
    with pytest.raises(ValueError, match=r"unpacked/.*config.yaml: refers to .*, which is outside the bundle; ask its"):
        load_pretrained(directory)


@pytest.mark.parametrize(
    ("key", "path"), [("llm", "exp/backbones/llm"), ("llm", "exp/align"), ("init", "exp/align"), ("init", "align")]
)
def test_the_working_directory_does_not_complete_a_bundle(unpacked, key, path):
    directory = unpacked(**{key: path})
    with pytest.raises(ValueError, match=rf"config.yaml: refers to {path}, which is not in the bundle; ask its author"):
        load_pretrained(directory)


def test_an_index_cannot_refer_to_weights_outside(unpacked, recipe_dir):
    llm = unpacked() / "backbones/llm"
    tensors = load_file(llm / "model.safetensors")
    (llm / "model.safetensors").unlink()
    place = str(recipe_dir / "exp/backbones/llm/model.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, place)}
    (llm / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index.json: got shard .*, wanted the name of a file in the same"):
        load_pretrained(llm.parents[1])


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "init/model.safetensors", "backbones/llm", "x"])
def test_links_out_of_a_bundle_are_rejected(unpacked, tmp_path, name):
    directory = unpacked()
    if (directory / name).exists():
        (directory / name).rename(tmp_path / "elsewhere")
    (directory / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=rf"unpacked/{name}: this link leads out of the bundle; replace it with the file it"
    ):
        load_pretrained(directory)


def test_links_within_a_bundle_are_followed(unpacked):
    directory = unpacked()
    (directory / "backbones/llm").rename(directory / "backbones/other")
    (directory / "backbones/llm").symlink_to("other")
    load_pretrained(directory)


@pytest.mark.parametrize(
    ("training", "init"), [("", "."), ("", "./"), ("", "backbones/.."), ("init", "."), ("", "init/..")]
)
def test_a_training_that_starts_from_itself_is_rejected(unpacked, training, init):
    directory = unpacked(training, init=init, phase="sft", lora="vanilla")
    with pytest.raises(ValueError, match=r"config.yaml: (starts from .* is circular|refers to .*, which is outside)"):
        load_pretrained(directory)


def test_trainings_that_start_from_each_other_are_rejected(own_recipe, tmp_path, capsys):
    for name, init in (("sft_vanilla", "exp/sft_zipper_soft"), ("sft_zipper_soft", "exp/sft_vanilla")):
        config = own_recipe / "exp" / name / "config.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace("init: exp/align", f"init: {init}"), "utf-8")
    with pytest.raises(ValueError, match=r"sft_zipper_soft/config.yaml: starts from .*sft_vanilla.* is circular"):
        load_pretrained(own_recipe / "exp/sft_vanilla")
    call = ["--model", str(own_recipe / "exp/sft_vanilla"), "--format", "bundle", "--out", str(tmp_path / "m.zip")]
    assert main(call) == 1
    assert "the chain of trainings is circular or longer than 16; correct init" in capsys.readouterr().err


def test_a_model_with_added_languages_is_bundled_with_all_its_parents(own_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(own_recipe)
    source = Path("exp/sft_zipper_soft")
    experiment = replace(
        Experiment.load(source), init=None, init_from=str(source), init_from_weights=weights_digest(source),
        languages=(*tiny.CODES, "ko"), added=("ko",), bank_from="shared", trained=("bank",),
        lid=torch.cat([load_file(source / "model.safetensors")["adapters.router.embeddings"], torch.ones(1, 16)]),
    )  # fmt: skip
    model = build_for_training(experiment, torch.float32, seed=1)
    Path("exp/ko").mkdir()
    experiment.save(Path("exp/ko"))
    save_trained(model, "exp/ko/model.safetensors")
    tiny.table().chosen(experiment.languages).save(Path("exp/ko/languages.tsv"))
    before = logits(load_pretrained("exp/ko").model)
    path = bundle(Path("exp/ko"), tmp_path / "m.zip").resolve()
    shutil.rmtree(own_recipe / "exp")
    assert distance(logits(load_pretrained(path).model), before) == 0.0
