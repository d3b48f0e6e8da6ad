"""Fine-tuning a trained model in a language that it has: real trainings, by one process and by two with ZeRO-2."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.train.test_new_language import logits
from tests.train.test_trainings import assert_equal_weights, lines, weights
from zipperasr.exchange.bundle import open_bundle, write_bundle
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model


@pytest.mark.parametrize("ranks", ["one_process", "two_ranks"])
def test_with_the_bank_alone_other_languages_stay_bit_identical(request, ranks):
    out = request.getfixturevalue(ranks)
    for code in ("es", "ja"):
        assert torch.equal(logits(out / "tuned", code), logits(out / "sft", code))
    assert not torch.equal(logits(out / "tuned", "de"), logits(out / "sft", "de"))


def test_the_loss_falls_from_that_of_the_trained_model(one_process):
    for name in ("tuned", "tuned_all"):
        losses = {line["step"]: line["loss_de"] for line in lines(one_process / name / "dev.jsonl")}
        assert min(losses) == 0 and losses[max(losses)] < losses[0] - 0.005
    first = [lines(one_process / name / "dev.jsonl")[0]["loss_de"] for name in ("tuned", "tuned_all")]
    assert first[0] == first[1]


def test_only_the_chosen_parts_are_saved(one_process):
    bank = weights(one_process / "tuned")
    assert {name.rpartition(".")[2] for name in bank} == {"b_specific", "embeddings"}
    assert {len(tensor) for tensor in bank.values()} == {3}
    assert weights(one_process / "tuned_all").keys() == weights(one_process / "sft").keys()
    experiment = Experiment.load(one_process / "tuned")
    assert (experiment.added, experiment.trained, experiment.languages) == ((), ("bank",), ("de", "es", "ja"))
    assert experiment.init_from == str(one_process / "sft") and experiment.init is None


def test_all_parts_change_the_other_languages_and_the_log_says_so(one_process):
    assert not torch.equal(logits(one_process / "tuned_all", "es"), logits(one_process / "sft", "es"))
    assert not torch.equal(logits(one_process / "tuned_vanilla", "de"), logits(one_process / "vanilla_fp32", "de"))
    log = (one_process / "rank0.log").read_text()
    assert f"fine-tuning bank of {one_process}/sft; the outputs of languages without training data stay" in log
    assert f"fine-tuning bank, router, shared, projector, llm of {one_process}/sft" in log
    assert "the outputs of languages without training data will change" in log


def test_two_ranks_equal_one_process(one_process, two_ranks):
    assert_equal_weights(two_ranks / "tuned", one_process / "tuned", atol=2e-4)


def test_an_interrupted_training_resumes_bit_identically(one_process):
    assert_equal_weights(one_process / "tuned_resumed", one_process / "tuned", atol=0)


def test_retraining_the_trained_model_invalidates_the_tuned_one(one_process, tmp_path):
    for name in ("sft", "tuned"):
        shutil.copytree(one_process / name, tmp_path / name)
    config = tmp_path / "tuned" / "config.yaml"
    config.write_text(config.read_text().replace(str(one_process / "sft"), str(tmp_path / "sft")))
    load_model(tmp_path / "tuned")
    shutil.copy(one_process / "dense" / "model.safetensors", tmp_path / "sft" / "model.safetensors")
    with pytest.raises(ValueError, match="was retrained after it had been fine-tuned; rerun stage 6 of this model"):
        load_model(tmp_path / "tuned")


def test_a_tuned_model_is_bundled_with_the_model_that_it_started_from(one_process, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_bundle(one_process / "tuned", tmp_path / "m.zip")

    opened = open_bundle(tmp_path / "m.zip")

    assert torch.equal(logits(opened, "de"), logits(one_process / "tuned", "de"))
