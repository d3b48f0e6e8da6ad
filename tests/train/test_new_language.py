"""Adding a language to a trained model: real trainings of every variant, by one process and by two with ZeRO-2."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open

from tests.model import tiny
from tests.train.test_trainings import assert_equal_weights, lines, weights
from tests.train.tiny_recipe import options_of_new_language
from zipperasr.batching.batch import collate
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import VARIANTS
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model
from zipperasr.stages.train import main

BANKED = [name for name, variant in VARIANTS.items() if variant.bank_starts]
OLD = ["de", "es", "ja"]


def moves(directory) -> dict:
    return json.loads((directory / "moved.json").read_text())


@torch.no_grad()
def logits(directory, code: str) -> torch.Tensor:
    batch = collate([[tiny.example(code, code, 9_000, "ein Wort", 1), tiny.example(f"{code}2", code, 21_000, "x", 2)]])
    return load_model(directory).eval().packed_logits(batch, 40)


@pytest.mark.parametrize("code", OLD)
@pytest.mark.parametrize("lora", BANKED)
def test_the_outputs_of_all_other_languages_stay_bit_identical(one_process, lora, code):
    assert torch.equal(logits(one_process / f"{lora}_added", code), logits(one_process / f"{lora}_fp32", code))


@pytest.mark.parametrize("ranks", ["one_process", "two_ranks"])
def test_a_projector_of_its_own_leaves_all_other_languages_bit_identical(request, ranks):
    out = request.getfixturevalue(ranks)
    for code in OLD:
        assert torch.equal(logits(out / "added_own", code), logits(out / "sft", code))
    assert not torch.equal(logits(out / "added_own", "it"), logits(out / "added", "it"))


def test_a_projector_of_its_own_is_trained_and_saved_by_code(one_process, two_ranks):
    found = moves(one_process / "added_own")
    for name, distance in found.items():
        if name.startswith("projector."):
            assert (distance > 0) == name.startswith("projector.own.for_it."), name
    assert found["moments"][:3] == [0.0] * 3 and found["moments"][3] > 0
    names = {name for name in weights(one_process / "added_own") if name.startswith("projector.")}
    assert len(names) == 10 and all(name.startswith("projector.own.for_it.") for name in names)
    assert_equal_weights(two_ranks / "added_own", one_process / "added_own", atol=2e-4)
    first, last = (lines(one_process / name / "dev.jsonl")[-1]["loss_it"] for name in ("added_own", "added"))
    assert first < last, "more is trained"
    log = (one_process / "rank0.log").read_text()
    assert "it: training only the new bank and the new projector; the outputs of the other languages stay" in log


@pytest.mark.parametrize("ranks", ["one_process", "two_ranks"])
def test_the_outputs_stay_bit_identical_with_zero_2(request, ranks):
    out = request.getfixturevalue(ranks)
    for code in OLD:
        assert torch.equal(logits(out / "added", code), logits(out / "sft", code))


@pytest.mark.parametrize("lora", BANKED)
def test_only_the_new_bank_and_the_new_projector_are_updated_and_have_moments(one_process, lora):
    found = moves(one_process / f"{lora}_added")
    *others, new = found.pop("moments")
    assert others == [0.0] * 3 and new > 0
    own = [found.pop(name) for name in list(found) if name.startswith("projector.own.for_it.")]
    assert len(own) == 10 and min(own) > 0
    for name, distance in found.items():
        *others, new = distance if isinstance(distance, list) else [distance, None]
        assert set(others) == {0.0}, name
        assert new is None or new > 0, name


def test_two_ranks_update_only_the_new_bank(two_ranks):
    found = moves(two_ranks / "added")
    assert all(
        set(value[:-1] if isinstance(value, list) else [value]) == {0.0}
        for name, value in found.items() if name != "moments"
    )  # fmt: skip


@pytest.mark.parametrize("lora", BANKED)
def test_the_new_languages_loss_falls(one_process, lora):
    losses = {line["step"]: line["loss_it"] for line in lines(one_process / f"{lora}_added" / "dev.jsonl")}
    assert list(losses) == sorted(losses) and min(losses) == 0
    assert losses[max(losses)] < losses[0] - 0.005
    assert set(lines(one_process / f"{lora}_added" / "dev.jsonl")[0]) == {"step", "loss", "loss_it"}


@pytest.mark.parametrize("lora", BANKED)
def test_the_weights_file_has_only_the_new_bank_and_the_new_projector(one_process, lora):
    path = one_process / f"{lora}_added" / "model.safetensors"
    with safe_open(path, framework="pt") as stream:
        assert json.loads(stream.metadata()["language_codes"]) == ["it"]
    for name, tensor in weights(path.parent).items():
        stacked = name.endswith(("_specific", "router.embeddings")) and len(tensor) == 1
        assert stacked or name.startswith("projector.own.for_it."), name


def test_the_experiment_records_the_extended_model(one_process):
    opened = load_pretrained(one_process / "zipper_soft_added")
    assert opened.languages.codes == [*OLD, "it"]
    experiment = Experiment.load(one_process / "zipper_soft_added")
    assert experiment.init_from == str(one_process / "zipper_soft_fp32")
    assert (experiment.added, experiment.bank_from) == (("it",), "nearest")
    assert experiment.trained == ("bank", "own_projector")
    longest_s = Experiment.load(one_process / "zipper_soft_fp32").longest_s
    assert longest_s and experiment.longest_s == longest_s, "the trained model's, not that of the new data"
    assert experiment.lora == "zipper_soft" and experiment.languages == (*OLD, "it")


def test_two_ranks_equal_one_process(one_process, two_ranks):
    assert_equal_weights(two_ranks / "added", one_process / "added", atol=2e-4)


def test_an_interrupted_training_resumes_bit_identically(one_process):
    assert_equal_weights(one_process / "added_resumed", one_process / "added", atol=0)
    assert "added_resumed: resuming from step 4" in (one_process / "rank0.log").read_text()


@pytest.mark.parametrize("name", ["added_bf16", "added_own_bf16"])
def test_in_bfloat16_the_other_languages_stay_bit_identical_in_float32(one_process, name):
    assert torch.equal(logits(one_process / name, "de"), logits(one_process / "sft", "de"))


def test_in_bfloat16_a_projector_of_its_own_is_trained(one_process):
    own = [distance for name, distance in moves(one_process / "added_own_bf16").items() if ".own.for_it." in name]
    assert len(own) == 10 and min(own) > 0
    losses = [line["loss_it"] for line in lines(one_process / "added_own_bf16" / "dev.jsonl")]
    assert losses[-1] < losses[0] - 0.005


def test_without_zero_a_projector_of_its_own_is_trained_as_with_zero_2(one_process):
    assert_equal_weights(one_process / "added_own_zero0", one_process / "added_own", atol=2e-4)
    assert torch.equal(logits(one_process / "added_own_zero0", "de"), logits(one_process / "sft", "de"))


def test_the_best_banks_can_be_averaged(one_process):
    assert weights(one_process / "added_best").keys() == weights(one_process / "added").keys()
    assert {len(tensor) for tensor in weights(one_process / "added_best").values()} == {1}


@pytest.mark.parametrize(("name", "source"), [("added_all", "sft"), ("vanilla_added", "vanilla_fp32")])
def test_shared_parts_are_trained_on_request_with_a_warning_in_the_log(one_process, name, source):
    found = moves(one_process / name)
    assert all(found[part] > 0 for part in found if part.startswith("projector.") and part.endswith("weight"))
    assert not torch.equal(logits(one_process / name, "de"), logits(one_process / source, "de"))
    log = (one_process / "rank0.log").read_text()
    assert "also training shared, projector, llm; the outputs of the other languages will change" in log
    assert "it: training only the new bank; the outputs of the other languages stay bit-identical" in log


def test_the_log_names_the_bank_that_the_new_one_starts_from(one_process):
    assert "it: bank initialised from " in (one_process / "rank0.log").read_text()


@pytest.fixture
def refused(one_process, tiny_recipe, tmp_path, capsys):
    """Run a request that must be refused before anything is written; returns the error line."""

    def run(source: str, *more: str, **paths: str) -> str:
        how = ["--init_from", str(one_process / source), "--out", str(tmp_path / "out")]
        assert main([*options_of_new_language(tiny_recipe, **paths), *how, *more]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.splitlines()[-1]

    return run


def test_a_language_of_the_trained_model_is_refused(refused):
    line = refused("sft", "--add_lang", "es")
    assert "sft: already supports es (it has de, es, ja); choose another language, or omit --add_lang" in line


def test_a_language_missing_from_the_table_is_refused(refused):
    line = refused("sft", "--add_lang", "sw")
    assert "unknown language 'sw'" in line and "add it to" in line


def test_a_language_without_data_is_refused(refused):
    line = refused("sft", "--add_lang", "fr")
    assert "sets.tsv: no train set of phase sft in fr; add fr to conf/datasets.tsv and run stages 1 to 3" in line


def test_a_language_listed_twice_is_refused(refused):
    assert "--add_lang: it is listed twice" in refused("sft", "--add_lang", "it", "it")


def test_fine_tuning_with_data_in_an_unknown_language_is_refused(refused):
    line = refused("sft")
    assert "sets.tsv: train_z_it is in it, which " in line
    assert "sft does not know; give --add_lang it, or remove its line from conf/datasets.tsv" in line


def test_an_alignment_is_refused(refused):
    line = refused("align", "--add_lang", "it")
    assert "align: got an alignment, wanted the output directory of an adaptation (stage 6)" in line


def test_an_unfinished_model_is_refused(refused):
    assert "no finished training here" in refused("none", "--add_lang", "it")


def test_a_model_without_encoder_lora_is_refused(refused):
    line = refused("none_fp32", "--add_lang", "it")
    assert "none_fp32: has no encoder LoRA to train; wanted a model of another --lora" in line


@pytest.mark.parametrize("lora", ["vanilla", "flylora"])
def test_a_variant_without_banks_lists_the_parts_that_can_be_trained(refused, lora):
    line = refused(f"{lora}_fp32", "--add_lang", "it")
    assert f"--train_parts bank: {lora} has no bank; choose from shared, projector, llm, all" in line


def test_a_new_bank_must_be_trained(refused):
    line = refused("sft", "--add_lang", "it", "--train_parts", "router")
    assert "--train_parts router: zipper_soft needs a new bank, which must be trained; add bank" in line


@pytest.mark.parametrize("shared", ["projector", "all"])
def test_one_language_does_not_train_two_projectors(refused, shared):
    line = refused("sft", "--add_lang", "it", "--train_parts", "bank", "own_projector", shared)
    assert f"the added language uses either the shared projector or its own; remove own_projector or {shared}" in line


def test_a_projector_of_its_own_is_for_added_languages(refused, one_process, tiny_recipe):
    line = refused("sft", "--train_parts", "bank", "own_projector", "--set", "epochs=1", languages="conf/languages.tsv")
    assert "own_projector is for languages added with --add_lang; fine-tuning trains a language's own" in line
    line = refused("vanilla_fp32", "--add_lang", "it", "--train_parts", "own_projector")
    assert "--train_parts own_projector: vanilla has no own_projector; choose from shared, projector, llm, all" in line


def test_unknown_parts_and_initial_values_suggest_the_nearest(refused):
    line = refused("sft", "--add_lang", "it", "--train_parts", "bnak")
    assert "--train_parts 'bnak'; did you mean 'bank'?" in line
    line = refused("sft", "--add_lang", "it", "--bank_from", "nearst")
    assert "--bank_from 'nearst'; did you mean 'nearest'?" in line


@pytest.mark.parametrize("lora", ["independent", "zipper_static"])
def test_a_shared_initial_value_needs_a_shared_bank_of_the_same_shape(refused, lora):
    line = refused(f"{lora}_fp32", "--add_lang", "it", "--bank_from", "shared")
    assert f"{lora} has no shared bank with the shape of a language's bank; choose nearest or zero" in line


def test_dense_updates_are_refused(refused):
    line = refused("sft", "--add_lang", "it", "--set", "absent_language=dense")
    assert "absent_language: dense would update the banks of all other languages; set it to hold" in line


@pytest.mark.parametrize("option", ["--lora=vanilla", "--regime=full", "--init=x", "--initial_b=x", "--model=x"])
def test_options_that_the_trained_model_determines_are_refused(refused, option):
    line = refused("sft", "--add_lang", "it", option)
    assert f"{option.split('=')[0]}: the model of --init_from has its own; omit this option" in line


def test_languages_are_added_in_the_adaptation_only(refused):
    assert "--phase align: a trained model is continued with --phase sft" in refused(
        "sft", "--add_lang", "it", "--phase", "align"
    )


def test_retraining_the_extended_model_invalidates_the_new_language(one_process, tmp_path):
    for name in ("sft", "added"):
        shutil.copytree(one_process / name, tmp_path / name)
    config = tmp_path / "added" / "config.yaml"
    config.write_text(config.read_text().replace(str(one_process / "sft"), str(tmp_path / "sft")))
    load_model(tmp_path / "added")
    shutil.copy(one_process / "dense" / "model.safetensors", tmp_path / "sft" / "model.safetensors")
    with pytest.raises(ValueError, match="was retrained after it had been added to it; rerun stage 6 of this model"):
        load_model(tmp_path / "added")
