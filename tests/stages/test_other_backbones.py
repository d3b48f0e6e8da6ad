"""Stages 4 to 7 with backbones that are neither Whisper nor Qwen3: w2v-BERT and Gemma."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.model import tiny_encoders, tiny_llms
from tests.train.tiny_recipe import below, options, write_lines, write_recipe
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.model.backbone_checks import check_backbones, check_language_embeddings
from zipperasr.stages import build_manifest, decode, language_embeddings, train


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """The tiny recipe with w2v-BERT and Gemma in model.yaml, before stage 3."""
    base = write_recipe(tmp_path_factory.mktemp("recipe"))
    tiny_encoders.write_encoder("w2v-bert-2.0", base / "exp/backbones/w2v_bert")
    tiny_llms.write_llm("gemma3_text", base / "exp/backbones/gemma")
    model = yaml.safe_load((base / "conf/model.yaml").read_text(encoding="utf-8"))
    model |= {"whisper": str(base / "exp/backbones/w2v_bert"), "llm": str(base / "exp/backbones/gemma")}
    write_lines(base / "conf/without.yaml", yaml.safe_dump(model))
    whisper = {"lid_whisper": str(base / "exp/backbones/whisper")}
    write_lines(base / "conf/whispers.yaml", yaml.safe_dump(model | whisper))
    lora = model["encoder_lora"] | {"zipper_soft": {"learned_embeddings": 6}}
    write_lines(base / "conf/learned.yaml", yaml.safe_dump(model | {"encoder_lora": lora}))
    stage_3 = {"raw": "dump/raw", "out": "manifest", "model": "conf/without.yaml"}
    assert build_manifest.main(options(base, **stage_3)) == 0
    return base


def stage(recipe: Path, conf: str, phase: str, *more: str) -> int:
    """Run stage 5 or 6 for a model.yaml."""
    paths = {
        "manifest": "manifest",
        "config": f"conf/{phase}.yaml",
        "out": f"exp/{conf}_{phase}",
        "lid": f"exp/lid_{conf}",
    }
    return train.main(["--phase", phase, *options(recipe, model=f"conf/{conf}.yaml", **paths), *more])


@pytest.mark.parametrize("conf", ["whispers", "learned"])
def test_a_model_trains_and_decodes(recipe, conf, capsys):
    lid = options(recipe, model=f"conf/{conf}.yaml", manifest="manifest", out=f"exp/lid_{conf}")
    assert language_embeddings.main([*lid, "--lora", "zipper_soft"]) == 0
    said = "the router of zipper_soft learns its language embeddings; nothing to compute"
    assert (said in capsys.readouterr().err) == (conf == "learned")
    assert (recipe / f"exp/lid_{conf}").exists() == (conf != "learned")
    assert stage(recipe, conf, "align") == 0
    init = ["--lora", "zipper_soft", "--init", str(recipe / f"exp/{conf}_align")]
    assert stage(recipe, conf, "sft", *init) == 0
    losses = [json.loads(line)["loss"] for line in (recipe / f"exp/{conf}_sft/train.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    out = recipe / f"exp/{conf}_sft"
    write_lines(recipe / "conf/decode.yaml", yaml.safe_dump({"tokens_floor": 4, "precision": "fp32"}))
    paths = {
        "exp": f"exp/{conf}_sft",
        "manifest": "manifest",
        "languages": "conf/languages.tsv",
        "config": "conf/decode.yaml",
    }
    assert decode.main(below(recipe, **paths)) == 0
    assert len((next(out.glob("decode_*")) / "test_y_de/text").read_text().splitlines()) == 3


def test_whispers_embeddings_are_those_of_the_whisper(recipe):
    lid = options(recipe, model="conf/whispers.yaml", manifest="manifest", out="exp/lid_again")
    assert language_embeddings.main(lid) == 0
    for mode in ("token", "state"):
        found, wanted = (load_embeddings(recipe / name, mode, ["de", "ja"]) for name in ("exp/lid_again", "exp/lid"))
        assert found.equal(wanted)


def test_a_router_without_embeddings_is_an_error_before_any_training(recipe, capsys):
    lid = options(recipe, model="conf/without.yaml", manifest="manifest", out="exp/lid_without")
    assert language_embeddings.main([*lid, "--lora", "vanilla"]) == 0
    assert "this encoder has no language embeddings, and vanilla needs none" in capsys.readouterr().err
    assert language_embeddings.main([*lid, "--lora", "zipper_soft"]) == 1
    assert "set lid_whisper in" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no language embeddings for model_type wav2vec2-bert; set lid_whisper in"):
        check_language_embeddings(recipe / "conf/without.yaml", "zipper_hard")
    for conf, lora in (("without", "vanilla"), ("whispers", "zipper_soft"), ("learned", "zipper_soft")):
        check_language_embeddings(recipe / f"conf/{conf}.yaml", lora)


def test_the_source_of_embeddings_is_no_part_of_an_alignment(recipe):
    """Setting lid_whisper after stage 5 does not train it again."""
    before = (recipe / "exp/whispers_align/model.safetensors").stat().st_mtime_ns
    model = yaml.safe_load((recipe / "conf/whispers.yaml").read_text(encoding="utf-8"))
    write_lines(recipe / "conf/whispers.yaml", yaml.safe_dump({k: v for k, v in model.items() if k != "lid_whisper"}))
    assert stage(recipe, "whispers", "align") == 0
    assert (recipe / "exp/whispers_align/model.safetensors").stat().st_mtime_ns == before


def test_the_mel_bins_of_both_families_are_checked(recipe):
    check_backbones(recipe / "conf/without.yaml", [5])
    model = yaml.safe_load((recipe / "conf/without.yaml").read_text(encoding="utf-8"))
    write_lines(recipe / "conf/wrong.yaml", yaml.safe_dump(model | {"mel_bins": 80}))
    with pytest.raises(ValueError, match=r"mel_bins: got 80, but .*w2v_bert/config.json has 8; set mel_bins: 8"):
        check_backbones(recipe / "conf/wrong.yaml", [5])
