"""The same trainings by one process and by two gloo ranks with ZeRO-2: equal weights and curves; and resuming."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.model import tiny
from tests.train.worker import BAD_STEP
from zipperasr.batching.batch import collate
from zipperasr.batching.loader import TrainingPlan
from zipperasr.batching.manifest import open_kind
from zipperasr.config import load_yaml
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import LORA_CHOICES
from zipperasr.model.build import add_adapters
from zipperasr.model.experiment_model import load_model
from zipperasr.model.model_config import ModelConfig
from zipperasr.run_record import TrainingRun, load_run


def weights(directory):
    return load_file(directory / "model.safetensors")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_equal_weights(one, other, atol):
    """atol: a step moves a weight by up to lr = 5e-3, and Adam makes float32's rounding of a small gradient larger."""
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, other[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def moved(one, other) -> float:
    one, other = weights(one), weights(other)
    return max((one[name] - other[name]).abs().max().item() for name in one.keys() & other.keys())


def test_the_ranks_see_different_languages_and_numbers_of_labels(tiny_recipe):
    """Otherwise the comparisons below would be vacuous."""
    plan = TrainingPlan.make(open_kind(tiny_recipe / "dump" / "manifest", "train", "sft"), 72, 2, epochs=2, seed=1)
    mixed = [batch for batch in plan.batches if len({pack.language for pack in batch}) == 2]
    alone = [batch for batch in plan.batches if len({pack.language for pack in batch}) == 1]
    assert len(mixed) >= 2
    assert len(alone) >= 1
    assert any(batch[0].num_tokens != batch[1].num_tokens for batch in mixed)


@pytest.mark.parametrize("name", ["align", "sft", "dense", "learned"])
def test_two_ranks_equal_one_process(one_process, two_ranks, name):
    assert_equal_weights(two_ranks / name, one_process / name, atol=2e-4)
    assert moved(one_process / "align", one_process / "sft") > 5e-3, "training must move something"


@pytest.mark.parametrize("lora", LORA_CHOICES)
def test_two_ranks_of_different_languages_equal_one_process_in_float64(one_process, two_ranks, lora):
    one, two = (out / f"{lora}_fp64" for out in (one_process, two_ranks))
    assert {tensor.dtype for tensor in weights(one).values()} <= {torch.float64, torch.int32}
    assert_equal_weights(two, one, atol=1e-6)
    assert moved(one_process / "align", one) > 1e-2


def test_learned_embeddings_move_only_for_languages_with_data(one_process):
    found = weights(one_process / "learned")["adapters.router.embeddings"]
    german, spanish, japanese = found - initial_embeddings(one_process / "learned.yaml")
    assert german.abs().min() > 1e-4 and spanish.abs().min() > 1e-4 and not japanese.any()


def initial_embeddings(model_yaml) -> torch.Tensor:
    """Drawn after the backbones are loaded, as in `build_for_training`, for seed 1."""
    align = model_yaml.parent / "align"
    model = load_model(align)
    torch.manual_seed(1)
    add_adapters(model, load_yaml(ModelConfig, model_yaml), "zipper_soft", ("de", "es", "ja"), None)
    return model.adapters.router.embeddings.detach()


def test_absent_language_setting_matters(one_process):
    assert moved(one_process / "sft", one_process / "dense") > 1e-3


def test_accumulated_micro_steps_equal_one_batch(one_process):
    assert_equal_weights(one_process / "accumulated", one_process / "sft", atol=2e-4)


def test_zero_stage_0_equals_stage_2(one_process):
    assert_equal_weights(one_process / "zero0", one_process / "sft", atol=2e-4)


def test_zero_stage_0_in_bfloat16_is_close_to_stage_2_and_resumes_bit_identically(one_process):
    plain, zero = one_process / "zero0_bf16", one_process / "bf16"  # its master weights are not rounded at the start
    assert distance(plain, zero) < 0.05 * distance(one_process / "align", zero)
    assert_equal_weights(one_process / "zero0_bf16_resumed", one_process / "zero0_bf16", atol=0)


def distance(one, other) -> float:
    one, other = weights(one), weights(other)
    squares = [(one[name].double() - other[name].double()).square().sum() for name in one.keys() & other.keys()]
    return torch.stack(squares).sum().sqrt().item()


def test_two_ranks_in_bfloat16_agree_with_one_process(one_process, two_ranks):
    """Each rank rounds the gradient of its own packs: measured, 2 % of the distance that the weights move."""
    one, two = one_process / "bf16", two_ranks / "bf16"
    assert distance(two, one) < 0.05 * distance(one_process / "align", one)
    for mine, theirs in zip(lines(two / "dev.jsonl"), lines(one / "dev.jsonl"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=2e-3)


def test_a_training_on_padded_segments_learns_and_is_recorded_as_padded(one_process):
    """The alignment that it starts from was trained without padding."""
    losses = [line["loss"] for line in lines(one_process / "padded" / "dev.jsonl")]
    assert losses[-1] < losses[0]
    assert load_pretrained(one_process / "padded").model.encoder.pad_to_30s
    assert not load_pretrained(one_process / "full").model.encoder.pad_to_30s


def test_the_packs_of_a_step_are_those_of_the_regime(one_process):
    """{chunked: 1, full: 2} gives as many steps in full context as packs_per_batch=2 gives in chunks."""
    steps = [lines(one_process / name / "train.jsonl")[-1]["step"] for name in ("full", "sft")]
    assert steps[0] == steps[1] == 8


@pytest.mark.parametrize("ranks", ["one_process", "two_ranks"])
def test_a_resumed_training_equals_an_uninterrupted_one(request, ranks):
    out = request.getfixturevalue(ranks)
    assert "resuming from step 4" in (out / "rank0.log").read_text()
    assert_equal_weights(out / "resumed", out / "sft", atol=0)
    for name in ("train", "dev", "router"):
        resumed, uninterrupted = (lines(out / which / f"{name}.jsonl") for which in ("resumed", "sft"))
        for line in (*resumed, *uninterrupted):
            for clock in ("seconds", "audio_s_per_s", "tokens_per_s", "peak_gb"):
                line.pop(clock, None)
        assert resumed == uninterrupted


def test_two_ranks_augment_as_one_process_does(one_process, two_ranks):
    assert_equal_weights(two_ranks / "augmented", one_process / "augmented", atol=2e-4)
    assert moved(one_process / "augmented", one_process / "sft") > 1e-3


@pytest.mark.parametrize("how", ["resumed", "by_workers"])
def test_an_augmented_training_resumed_or_with_workers_equals_an_uninterrupted_one(one_process, how):
    """Workers leave the features to the device, and with them the masks."""
    assert_equal_weights(one_process / f"augmented_{how}", one_process / "augmented", atol=0)
    log = (one_process / "rank0.log").read_text()
    assert "augmented_resumed: resuming from step 4" in log
    assert "sft: augmentation: speed 0.9, 1, 1.1; reverb 0.8; noise 0.8 (" in log


def test_the_dev_set_is_not_augmented(one_process):
    """With a learning rate of 0 the dev losses are those of a training without augmentation."""
    assert lines(one_process / "augmented_stopped" / "dev.jsonl") == lines(one_process / "stopped" / "dev.jsonl")
    losses = [[line["loss"] for line in lines(one_process / name / "train.jsonl")] for name in ("augmented", "sft")]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lora", LORA_CHOICES)
def test_every_variant_resumes_bit_identically(one_process, lora, precision):
    name = f"{lora}_{precision}"
    assert_equal_weights(one_process / f"{name}_resumed", one_process / name, atol=0)
    assert f"{name}_resumed: resuming from step 4" in (one_process / "rank0.log").read_text()


def test_curves_of_two_ranks_equal_those_of_one_process(one_process, two_ranks):
    for one, two in zip(*(lines(out / "sft" / "train.jsonl") for out in (one_process, two_ranks)), strict=True):
        assert one["step"] == two["step"]
        for key in ("loss", "lr", "grad_norm", "fill"):
            assert two[key] == pytest.approx(one[key], rel=1e-3), key
    for one, two in zip(*(lines(out / "sft" / "dev.jsonl") for out in (one_process, two_ranks)), strict=True):
        assert two == pytest.approx(one, rel=1e-3)
        assert set(one) == {"step", "loss", "loss_de", "loss_es"}


def test_the_loss_falls(one_process):
    losses = [line["loss"] for line in lines(one_process / "sft" / "dev.jsonl")]
    assert losses[-1] < losses[0] - 0.05
    assert [line["step"] for line in lines(one_process / "sft" / "dev.jsonl")] == [2, 4, 6, 8]


def test_a_training_leaves_its_files_and_no_checkpoints(one_process):
    found = {path.name for path in (one_process / "sft").iterdir()}
    files = {"config.yaml", "train.jsonl", "dev.jsonl", "router.jsonl", "router_final.json", "model.safetensors"}
    assert files | {"run.json", "languages.tsv", "tensorboard", ".inputs.json", ".outputs.json"} == found
    assert not (one_process / "align" / "router.jsonl").exists()
    router = json.loads((one_process / "sft" / "router_final.json").read_text())
    assert router["languages"] == ["de", "es", "ja"]
    assert (len(router["p"]), len(router["p"][0]), len(router["p"][0][0])) == (len(router["layers"]), 3, 4)


def test_a_language_without_sft_data_keeps_a_zero_specific_bank(one_process):
    banks = {name: tensor for name, tensor in weights(one_process / "sft").items() if name.endswith("b_specific")}
    assert len(banks) == 18
    for name, tensor in banks.items():
        assert not tensor[2].any(), name
        assert tensor[0].any(), name
        assert tensor[1].any(), name


def test_bfloat16_learns_too(one_process):
    exact, rounded = (lines(one_process / name / "dev.jsonl")[-1]["loss"] for name in ("sft", "bf16"))
    assert rounded == pytest.approx(exact, rel=0.05)
    assert {tensor.dtype for name, tensor in weights(one_process / "bf16").items() if "embeddings" not in name} == {
        torch.bfloat16
    }
    # the router's input stays float32, and with it p
    assert weights(one_process / "bf16")["adapters.router.embeddings"].dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("name", ["align", "sft", "full", "padded"])
def test_the_written_model_loads_and_computes(one_process, name):
    model = load_pretrained(one_process / name).model
    loss, _, _ = model(collate([[tiny.example("a", "de", 9000, "ein")]]), 40)
    assert loss.isfinite()


@pytest.mark.parametrize("ranks", ["one_process", "two_ranks"])
def test_a_nan_loss_skips_the_step_on_all_ranks_and_its_utterances_are_listed(request, tiny_recipe, ranks):
    out = request.getfixturevalue(ranks)
    (skipped,) = lines(out / "skipped" / "skipped.jsonl")
    assert skipped["step"] == BAD_STEP + 1
    assert skipped["loss"].count("nan") == 1
    plan = TrainingPlan.make(open_kind(tiny_recipe / "dump" / "manifest", "train", "sft"), 72, 2, 2, seed=1)
    assert len(skipped["utt_ids"]) == sum(len(pack.rows) for pack in plan.batches[BAD_STEP])
    assert "step 3: skipped, non-finite loss or gradient" in (out / "rank0.log").read_text()
    assert all(tensor.isfinite().all() for tensor in weights(out / "skipped").values())
    for key in ("loss", "grad_norm"):
        without = [line["step"] for line in lines(out / "skipped" / "train.jsonl") if line[key] is None]
        assert without == [BAD_STEP + 1]


def test_skipping_a_step_does_not_depend_on_the_number_of_ranks(one_process, two_ranks):
    assert_equal_weights(two_ranks / "skipped", one_process / "skipped", atol=2e-4)
    assert moved(one_process / "skipped", one_process / "sft") > 1e-3


def test_a_diverged_training_ends_with_one_error_line(one_process):
    log = (one_process / "rank0.log").read_text()
    assert "skipped.jsonl: the last 2 steps" in log and "or lower lr" in log
    assert not (one_process / "diverged" / "model.safetensors").exists()


def test_the_best_weights_are_averaged(one_process):
    """With this lr the last two evaluations are the best, and the mean is between them."""
    losses = {line["step"]: line["loss"] for line in lines(one_process / "best" / "dev.jsonl")}
    assert losses == {line["step"]: line["loss"] for line in lines(one_process / "sft" / "dev.jsonl")}
    assert 0 < moved(one_process / "best", one_process / "sft") < moved(one_process / "sft", one_process / "align")
    assert not (one_process / "best" / "best").exists()


def test_training_stops_early_when_the_dev_loss_no_longer_falls(one_process):
    """With a learning rate of 0 the second evaluation is no better than the first."""
    assert [line["step"] for line in lines(one_process / "stopped" / "dev.jsonl")] == [2, 4]
    assert "no better dev loss in 1 evaluations" in (one_process / "rank0.log").read_text()


@pytest.mark.parametrize(
    ("name", "lora", "regime", "parents", "added"),
    [
        ("align", None, "chunked", {}, ()),
        ("sft", "zipper_soft", "chunked", {"alignment": "align"}, ()),
        ("full", "zipper_soft", "full", {"alignment": "align"}, ()),
        ("added", "zipper_soft", "chunked", {"init_from": "sft"}, ("it",)),
    ],
)
def test_run_json_records_the_training_and_its_parents(one_process, name, lora, regime, parents, added):
    run = load_run(TrainingRun, one_process / name)
    assert (run.phase, run.lora, run.regime) == ("align" if lora is None else "sft", lora, regime)
    assert run.parents == {role: str(one_process / parent) for role, parent in parents.items()}
    assert (run.setting, run.seed, run.tag, run.added) == ("1h", 1, "", added)
    assert run.versions["torch"] == torch.__version__
