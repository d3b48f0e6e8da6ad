"""GPU memory: optimiser states compared with hand calculations, and remedies that work."""

from __future__ import annotations

import dataclasses

import pytest

from zipperasr.plan.memory import GIB, memory_rows, verdict


def changed(setup, **train):
    return dataclasses.replace(setup, train=dataclasses.replace(setup.train, **train))


def without_checkpointing(setup):
    return dataclasses.replace(setup, model_config=dataclasses.replace(setup.model_config, checkpointing=False))


@pytest.mark.parametrize(
    ("zero_stage", "gradients", "optimiser", "languages"),
    [(0, 2, 12, 2), (1, 2, 12 / 4, 2 / 4), (2, 4 / 4, 12 / 4, 2 / 4)],
)
def test_zero_divides_the_states_of_its_stage(setup, zero_stage, gradients, optimiser, languages):
    parts = changed(setup, zero_stage=zero_stage).memory().parts
    assert parts["weights"] == 2 * setup.size.total
    assert parts["gradients"] == pytest.approx(gradients * setup.size.trained)
    assert parts["optimiser states"] == pytest.approx(optimiser * setup.size.trained)
    assert parts["languages of banks"] == pytest.approx(languages * setup.size.banks)
    assert (parts["reduce bucket"] > 0) == (zero_stage > 0)


def test_float32_doubles_weights_and_activations(setup):
    half, whole = (changed(setup, precision=precision).memory().parts for precision in ("bf16", "fp32"))
    assert whole["weights"] == 2 * half["weights"]
    assert 1.8 * half["activations kept"] < whole["activations kept"] <= 2 * half["activations kept"]
    assert whole["optimiser states"] == half["optimiser states"]


def test_activations_grow_with_the_packs(setup):
    few, many = (changed(setup, packs_per_batch=packs).memory().parts for packs in (4, 16))
    for part in ("activations kept", "logits, or one layer"):
        assert many[part] == pytest.approx(4 * few[part])


def test_a_batch_that_fits_is_reported_as_such(setup):
    needed = setup.memory().total / GIB
    assert verdict("stage 2", setup, 80) == f"stage 2: {needed:.0f} of 80 GiB: fits."


def test_checkpointing_is_the_first_remedy(setup):
    line = verdict("stage 2", without_checkpointing(setup), 80)
    assert "does not fit; set checkpointing: true in model.yaml (25 GiB)" in line


def test_fewer_packs_keep_the_global_batch(setup):
    large = changed(setup, packs_per_batch=96, accumulation=2)
    line = verdict("stage 2", large, 80)
    assert "set packs_per_batch=48 accumulation=4 (" in line
    assert changed(setup, packs_per_batch=48).memory().total < 80 * GIB < large.memory().total


def test_both_remedies_are_combined_if_one_is_not_enough(setup):
    line = verdict("stage 2", without_checkpointing(setup), 20)
    assert "set checkpointing: true in model.yaml and packs_per_batch=8 accumulation=2 (" in line


def test_a_gpu_that_is_too_small_is_reported(setup):
    assert "even packs_per_batch=1 with checkpointing does not fit; use more GPUs" in verdict("stage 2", setup, 8)


def test_table_ends_with_the_total(setup):
    memory = setup.memory()
    header, *parts, total = memory_rows({"stage 2": memory})
    assert header == ("GiB", "stage 2")
    assert float(total[1]) == pytest.approx(sum(float(row[1]) for row in parts), abs=0.05)
