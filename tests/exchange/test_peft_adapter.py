"""An exported adapter computes the same in PEFT as in our model, for every variant that is a plain LoRA."""

from __future__ import annotations

import pytest
from peft import AutoPeftModel, PeftModel
from transformers import WhisperModel

from tests.exchange.outputs import TOLERANCE, by_transformers, distance, ours, through_our_encoder
from tests.model import tiny
from zipperasr.exchange.export import main
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import VARIANTS

PLAIN = [variant for variant in VARIANTS if variant != "flylora"]


@pytest.fixture(scope="module", params=PLAIN)
def exported(request, recipe_dir, tmp_path_factory):
    """(our model, directory of the PEFT adapters of all its languages)."""
    out = tmp_path_factory.mktemp("peft") / request.param
    training = recipe_dir / "exp" / f"sft_{request.param}"
    assert main(["--model", str(training), "--format", "peft", "--lang", "all", "--out", str(out)]) == 0
    return load_pretrained(training).model, out


def opened(out, code: str) -> PeftModel:
    return PeftModel.from_pretrained(WhisperModel.from_pretrained(out / "base"), out / code).eval()


@pytest.mark.parametrize("code", tiny.CODES)
def test_outputs_in_peft_are_equal_for_each_language(exported, code):
    model, out = exported
    peft_model = opened(out, code)
    assert distance(through_our_encoder(peft_model.base_model.model), ours(model, code)) <= TOLERANCE
    with peft_model.disable_adapter():
        assert distance(through_our_encoder(peft_model.base_model.model), ours(model, code)) > 0.01


def test_outputs_of_transformers_forward_over_30_s_are_equal(exported):
    model, out = exported
    assert distance(by_transformers(opened(out, "ja").base_model.model), ours(model, "ja", (3000,))) <= TOLERANCE


def test_the_base_is_the_encoder_of_stage_5(exported, recipe_dir):
    _, out = exported
    align = load_pretrained(recipe_dir / "exp/align").model
    base = WhisperModel.from_pretrained(out / "base").eval()
    assert distance(through_our_encoder(base), ours(align, None)) <= TOLERANCE


def test_peft_adapts_the_encoder_s_layers_and_no_other(exported):
    model, out = exported
    names = opened(out, "de").targeted_module_names
    assert names == [f"encoder.{name}" for name in model.adapters.layers]


def test_one_peft_model_can_hold_several_languages(exported):
    model, out = exported
    peft_model = opened(out, "de")
    peft_model.load_adapter(out / "ja", "ja")
    peft_model.set_adapter("ja")
    assert distance(through_our_encoder(peft_model.base_model.model), ours(model, "ja")) <= TOLERANCE


def test_the_adapter_names_its_base(exported):
    model, out = exported
    auto = AutoPeftModel.from_pretrained(out / "es").eval()
    assert distance(through_our_encoder(auto.base_model.model), ours(model, "es")) <= TOLERANCE


def test_the_base_can_have_another_name(recipe_dir, tmp_path):
    training = str(recipe_dir / "exp/sft_vanilla")
    call = ["--model", training, "--format", "peft", "--lang", "de", "--base-name", "me/base", "--out"]
    assert main([*call, str(tmp_path / "out")]) == 0
    assert '"me/base"' in (tmp_path / "out/de/adapter_config.json").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["LICENCES.md", "base", "de"]


def test_flylora_cannot_be_exported_and_leaves_no_files(recipe_dir, tmp_path, capsys):
    call = ["--model", str(recipe_dir / "exp/sft_flylora"), "--lang", "de", "--out", str(tmp_path / "out"), "--format"]
    for form in ("peft", "merged"):
        assert main([*call, form]) == 1
        assert "cannot be exported as a plain LoRA or merged: it selects its ranks per frame" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def test_an_alignment_has_no_adapter_to_export(recipe_dir, tmp_path, capsys):
    training = str(recipe_dir / "exp/align")
    call = ["--model", training, "--format", "peft", "--lang", "de", "--out", str(tmp_path / "out")]
    assert main(call) == 1
    assert "de: the model has no encoder LoRA (an alignment, or --lora none); use --format merged" in (
        capsys.readouterr().err
    )
