"""A model initialised from a foreign PEFT adapter computes the same function before any training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration, WhisperModel

from tests.exchange.outputs import TOLERANCE, distance, logits, ours, through_our_encoder
from tests.exchange.test_peft_adapter import PLAIN
from tests.model import tiny
from zipperasr.exchange import export
from zipperasr.exchange.importer import main
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training

ALL = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
ENCODER = rf".*encoder\.layers\.\d+\.(self_attn\.)?({'|'.join(ALL)})"


@dataclass
class Foreign:
    """A recipe, and an adapter that PEFT created on the encoder of its alignment."""

    recipe: Path
    adapter: Path
    model: WhisperModel  # with the adapter in its layers

    def call(self, *options: str, lora: str = "zipper_soft") -> int:
        return main(
            f"--peft {self.adapter} --model {self.recipe}/exp/align --lora {lora} --lid {self.recipe}/exp/lid "
            f"--out {self.recipe}/exp/new {' '.join(options)}".split()
        )

    def imported(self):
        return load_pretrained(self.recipe / "exp/new").model


def make(recipe: Path, whisper_class=WhisperModel, **settings) -> Foreign:
    base = recipe / "base"
    if not base.exists():
        call = ["--model", str(recipe / "exp/sft_vanilla"), "--format", "peft", "--lang", "de", "--out"]
        assert export.main([*call, str(recipe / "peft")]) == 0
        (recipe / "peft/base").rename(base)
    whisper = whisper_class.from_pretrained(base)
    torch.manual_seed(4)
    peft_model = get_peft_model(
        whisper, LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": ENCODER, **settings})
    ).eval()
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    peft_model.save_pretrained(recipe / "adapter")
    inner = peft_model.base_model.model
    return Foreign(recipe, recipe / "adapter", getattr(inner, "model", inner))


@pytest.fixture
def make_foreign(own_recipe, monkeypatch):
    monkeypatch.chdir(own_recipe)
    return lambda *args, **settings: make(own_recipe, *args, **settings)


@pytest.mark.parametrize("variant", PLAIN)
def test_every_language_starts_as_the_adapter(make_foreign, variant):
    foreign = make_foreign()
    assert foreign.call(lora=variant) == 0
    model = foreign.imported()
    for code in tiny.CODES:
        assert distance(ours(model, code), through_our_encoder(foreign.model)) <= TOLERANCE


@pytest.mark.parametrize("settings", [{"use_rslora": True}, {"r": 4, "lora_alpha": 1}])
def test_peft_s_scaling_is_merged_into_b(make_foreign, settings):
    foreign = make_foreign(**settings)
    assert foreign.call() == 0
    assert distance(ours(foreign.imported(), "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


def test_an_adapter_of_a_whisper_with_a_head_can_be_imported(make_foreign):
    foreign = make_foreign(WhisperForConditionalGeneration)
    assert foreign.call() == 0
    assert distance(ours(foreign.imported(), "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


@torch.no_grad()
def test_projector_and_llm_are_copied_from_the_alignment_and_b_spec_can_be_zero(make_foreign):
    foreign = make_foreign()
    assert foreign.call("--specific", "zero") == 0
    model, aligned = foreign.imported(), load_pretrained(foreign.recipe / "exp/align").model
    state = model.state_dict()
    for name, tensor in aligned.state_dict().items():
        if not name.startswith("encoder."):
            assert torch.equal(state[name], tensor), name
    layer = model.adapters.layers["layers.0.fc1"]
    theirs = load_file(foreign.adapter / "adapter_model.safetensors")
    scale = (12 / 4) / (8 / 4)  # their alpha / r divided by ours
    prefix = "base_model.model.encoder.layers.0.fc1.lora_"
    assert torch.equal(layer.a, theirs[f"{prefix}A.weight"])
    torch.testing.assert_close(layer.b_shared, theirs[f"{prefix}B.weight"] * scale)
    assert not layer.b_specific.any() and layer.b_specific.shape == (3, 24, 4)


def test_an_exported_language_can_be_imported_again(make_foreign, own_recipe):
    make_foreign()
    soft = str(own_recipe / "exp/sft_zipper_soft")
    assert export.main(["--model", soft, "--format", "peft", "--lang", "ja", "--out", str(own_recipe / "out")]) == 0
    home = Foreign(own_recipe, own_recipe / "out/ja", None)
    assert home.call(lora="vanilla") == 0
    assert distance(ours(home.imported(), "de"), ours(load_pretrained(soft).model, "ja")) <= TOLERANCE


def test_the_result_can_be_used_as_initial_b(make_foreign, own_recipe):
    foreign = make_foreign()
    assert foreign.call() == 0
    source = Experiment.load(own_recipe / "exp/new")
    lid = tiny.lid_embeddings().repeat(1, 2)[:, : tiny.D_ENCODER]
    warm = Experiment(
        "sft", "full", "zipper_soft", "exp/align", tiny.CODES, 1, source.model, "exp/new", ("b", "a"), lid
    )
    model = build_for_training(warm, torch.float32, seed=7).eval()
    assert distance(ours(model, "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


def test_it_is_a_training_of_the_recipe_and_opens_from_any_directory(make_foreign, own_recipe, monkeypatch, tmp_path):
    assert make_foreign().call() == 0
    experiment = Experiment.load(own_recipe / "exp/new")
    assert (experiment.init, experiment.model.whisper) == ("exp/align", "exp/backbones/whisper")
    before = logits(load_pretrained(own_recipe / "exp/new").model)
    monkeypatch.chdir(tmp_path)
    assert distance(logits(load_pretrained(own_recipe / "exp/new").model), before) == 0.0


def test_outside_a_recipe_its_paths_are_absolute(make_foreign, own_recipe, tmp_path):
    foreign = make_foreign()
    out = tmp_path / "far/away/new"
    call = ["--peft", str(foreign.adapter), "--model", "exp/align", "--lora", "vanilla", "--out", str(out)]
    assert main(call) == 0
    assert Experiment.load(out).init == str(own_recipe / "exp/align")


def test_another_rank_must_be_requested(make_foreign, capsys):
    foreign = make_foreign(r=2)
    assert foreign.call() == 1
    said = "adapter: got rank 2, wanted 4, the alignment's encoder_lora.rank; use --rank 2 for a model with"
    assert said in capsys.readouterr().err
    assert foreign.call("--rank", "3") == 1
    assert "--rank 3: the adapter has rank 2" in capsys.readouterr().err
    assert foreign.call("--rank", "2") == 0
    assert distance(ours(foreign.imported(), "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


def edit_config(foreign: Foreign, **changes: object) -> None:
    config = foreign.adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))


def edit_tensors(foreign: Foreign, change) -> None:
    path = foreign.adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(foreign: Foreign, capsys, said: str, *options: str) -> None:
    assert foreign.call(*options) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1 and said in lines[0] and len(lines[0]) <= 500, lines
    assert not (foreign.recipe / "exp/new").exists()


@pytest.mark.parametrize("options", [(), ("--rank", "4"), ("--partial",)])
def test_a_rank_that_differs_from_the_factors_is_an_error(make_foreign, capsys, options):
    foreign = make_foreign(r=8)  # the rank of the model is 4
    edit_config(foreign, r=4)
    said = "adapter_config.json: r: 4, but base_model.model.encoder.layers.0.fc1.lora_A.weight and its B are [8, 16]"
    refused(foreign, capsys, said, *options)


@pytest.mark.parametrize("rank", [0, -1, -4, 10**9, 10**400, "16", None, 4.0, True, [4]])
def test_an_invalid_rank_is_reported_in_one_line(make_foreign, capsys, rank):
    foreign = make_foreign()
    edit_config(foreign, r=rank)
    refused(foreign, capsys, "adapter_config.json: r: got ")


@pytest.mark.parametrize("alpha", [0, -8, "x", "16", None, float("nan"), float("inf"), 10**400, True])
def test_alpha_must_be_a_positive_number(make_foreign, capsys, alpha):
    foreign = make_foreign()
    edit_config(foreign, lora_alpha=alpha)
    refused(foreign, capsys, "wanted a finite number above 0")


@pytest.mark.parametrize("kind", ["LOHA", None, "XYZ", ["LORA"], "lora"])
def test_another_type_of_adapter_is_an_error(make_foreign, capsys, kind):
    foreign = make_foreign()
    edit_config(foreign, peft_type=kind)
    refused(foreign, capsys, "adapter_config.json: peft_type: got ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_qalora", True),
        ("alora_invocation_tokens", [1, 2]),
        ("kasa_config", {"beta": 1.0}),
        ("arrow_config", {"top_k": 2}),
        ("velora_config", {"num_groups": 2}),
        ("monteclora_config", {"num_samples": 2}),
        ("use_bdlora", {"nblocks": 2}),
        ("lora_bias", True),
        ("bias", "all"),
        ("fan_in_fan_out", True),
        ("modules_to_save", ["proj_out"]),
        ("trainable_token_indices", [3]),
        ("target_parameters", ["weight"]),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "mica"),
        ("megatron_config", {"a": 1}),
        ("of_a_later_peft", 1),
        ("x" * 1000, "on"),
    ],
)
def test_options_beyond_plain_lora_are_errors(make_foreign, capsys, key, value):
    foreign = make_foreign()
    edit_config(foreign, **{key: value})
    refused(foreign, capsys, f"adapter_config.json: {key[:40]}: unsupported or unknown options; wanted one plain LoRA")


def test_disabled_options_and_metadata_are_accepted(make_foreign):
    foreign = make_foreign(init_lora_weights="gaussian", lora_dropout=0.1, exclude_modules=["x"])
    edit_config(foreign, of_a_later_peft=None, another=False, and_another={}, enable_lora=None, revision="main")
    assert foreign.call() == 0
    assert distance(ours(foreign.imported(), "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000, '{"r":' * 100_000])
def test_an_adapter_config_that_is_not_an_object_is_an_error(make_foreign, capsys, content):
    foreign = make_foreign()
    (foreign.adapter / "adapter_config.json").write_text(content)
    refused(foreign, capsys, "adapter_config.json: cannot be read as JSON (")


FC1 = "base_model.model.encoder.layers.0.fc1.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tensor: tensor.index_fill(0, torch.tensor(1), float("nan")), "16 of 64 values are NaN, infinite or"),
        (lambda tensor: tensor.index_fill(1, torch.tensor(1), float("inf")), "4 of 64 values are NaN, infinite or"),
        (lambda tensor: tensor.to(torch.complex64), "got complex64, wanted float32, bfloat16, float16, float64"),
        (lambda tensor: tensor.to(torch.float8_e5m2), "got float8_e5m2, wanted float32"),
        (lambda tensor: tensor.double() * 1e300, "64 of 64 values are NaN, infinite or beyond float32"),
        (lambda tensor: tensor.sum(), "and its B are [] and [24, 4], wanted [r, d_in] and [d_out, r]"),
        (lambda tensor: tensor[0], "and its B are [16] and [24, 4], wanted [r, d_in] and [d_out, r]"),
    ],
)
def test_a_factor_s_values_are_checked(make_foreign, capsys, spoil, said):
    foreign = make_foreign()
    edit_tensors(foreign, lambda tensors: tensors.update({FC1: spoil(tensors[FC1]).contiguous()}))
    refused(foreign, capsys, f"{FC1}{': ' if 'B are' not in said else ' '}{said}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tensor: tensor.to_sparse(), "got a sparse_coo tensor, wanted a dense one"),
        (lambda tensor: tensor.to("meta"), "got a meta tensor, wanted a dense one with values"),
        (lambda tensor: torch.ones(1).expand(tensor.shape), "shape [4, 16], but only 1 values are stored"),
    ],
)
def test_a_factor_of_another_layout_is_reported_in_one_line(make_foreign, capsys, spoil, said):
    foreign = make_foreign()
    path = foreign.adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    path.unlink()
    torch.save({**tensors, FC1: spoil(tensors[FC1])}, path.with_suffix(".bin"))
    refused(foreign, capsys, f"adapter_model.bin: {FC1}: {said}")


def test_two_factors_for_one_layer_are_both_named(make_foreign, capsys):
    foreign = make_foreign()
    twin = FC1.replace("encoder.", "model.encoder.")
    edit_tensors(foreign, lambda tensors: tensors.update({twin: tensors[FC1] * 2}))
    refused(foreign, capsys, f"{FC1} and {twin} belong to the same layer; remove one")


def test_missing_layers_are_reported_and_can_be_allowed(make_foreign, own_recipe, capsys):
    foreign = make_foreign(target_modules=["q_proj", "v_proj"])  # also in the decoder
    assert foreign.call() == 1
    said = capsys.readouterr().err
    assert "missing layers.0.self_attn.k_proj, layers.0.self_attn.out_proj" in said
    assert "not A or B of an encoder layer base_model.model.decoder.layers.0.encoder_attn.q_proj.lora_A.weight" in said
    assert not (own_recipe / "exp/new").exists()
    assert foreign.call("--partial") == 0
    assert "copied A and B of 6 layers" in (said := capsys.readouterr().err) and "12 layers have no update" in said
    assert distance(ours(foreign.imported(), "ja"), through_our_encoder(foreign.model)) <= TOLERANCE


def test_other_tensors_are_reported(make_foreign, capsys):
    foreign = make_foreign()
    path = foreign.adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["base_model.model.encoder.layers.0.fc1.lora_magnitude_vector"] = torch.ones(3)
    tensors["base_model.model.encoder.layers.9.fc1.lora_A.weight"] = torch.ones(4, 16)
    tensors["base_model.model.encoder.layers.9.fc1.lora_B.weight"] = torch.ones(16, 4)
    save_file(tensors, path)
    assert foreign.call("--partial") == 1
    said = capsys.readouterr().err
    assert (
        "unknown layers.9.fc1; not A or B of an encoder layer base_model.model.encoder.layers.0.fc1.lora_magn" in said
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_dora", True), ("rank_pattern", {"fc1": 2}), ("alpha_pattern", {"fc1": 2}), ("layer_replication", [[0, 1]])],
)
def test_adapters_other_than_one_plain_lora_are_rejected(make_foreign, capsys, key, value):
    foreign = make_foreign()
    config = foreign.adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: value}))
    assert foreign.call() == 1
    assert f"adapter_config.json: {key}: unsupported or unknown options" in capsys.readouterr().err


def test_variants_that_cannot_be_initialised_from_an_adapter(make_foreign, capsys):
    foreign = make_foreign()
    assert foreign.call(lora="flylora") == 1
    assert (
        "flylora has its own sparse, frozen A and cannot be initialised from a PEFT adapter" in capsys.readouterr().err
    )
    assert foreign.call("--specific", "zero", lora="independent") == 1
    assert "independent has no shared bank, so --specific zero discards the adapter" in capsys.readouterr().err


def test_the_model_must_be_an_alignment_and_the_adapter_an_adapter(make_foreign, own_recipe, capsys):
    foreign = make_foreign()
    assert main(["--peft", str(foreign.adapter), "--out", "x"]) == 1
    assert "--peft needs --model DIRECTORY of the alignment (stage 5) and --lora VARIANT" in capsys.readouterr().err
    call = ["--peft", str(foreign.adapter), "--model", "exp/sft_vanilla", "--lora", "vanilla", "--out", "x"]
    assert main(call) == 1
    assert "exp/sft_vanilla: got phase sft, wanted an alignment (stage 5)" in capsys.readouterr().err
    assert Foreign(own_recipe, own_recipe / "exp/align", None).call() == 1
    assert "adapter_config.json: missing; wanted the directory of a PEFT adapter" in capsys.readouterr().err
    assert foreign.call(lora="zippersoft") == 1
    assert "unknown lora 'zippersoft'; did you mean 'zipper_soft'" in capsys.readouterr().err
