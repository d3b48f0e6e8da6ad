"""The schedule: learning rate, chunk length, and when a training logs, evaluates and saves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.model import tiny
from zipperasr.train.schedule import Schedule, lr_factor
from zipperasr.train.train_config import TrainConfig


def test_the_learning_rate_warms_up_linearly_and_falls_as_half_a_cosine():
    factors = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.01


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_a_training_of_a_few_steps_still_learns(num_steps):
    assert all(lr_factor(step, num_steps, 0.1) > 0 for step in range(num_steps))


@pytest.fixture
def schedule(tmp_path):
    model_config = tiny.model_config(tmp_path, train_chunk_s=(0.2, 0.4, 0.8), decode_chunk_s=0.6)

    def make(regime: str = "chunked", seed: int = 1, num_steps: int = 10, **settings) -> Schedule:
        return Schedule(num_steps, TrainConfig(epochs=1, **settings), model_config, regime, seed)

    return make


def test_the_learning_rate_peaks_at_the_configured_value(schedule):
    rates = [schedule(lr=3e-4, warmup_ratio=0.2).learning_rate(step) for step in range(10)]
    assert max(rates) == 3e-4
    assert rates[0] == 1.5e-4


def test_chunks_are_drawn_per_step_from_the_seed(schedule):
    drawn = [schedule().chunk_frames(step) for step in range(60)]
    assert drawn == [schedule().chunk_frames(step) for step in range(60)]
    assert set(drawn) == {20, 40, 80}
    assert drawn != [schedule(seed=2).chunk_frames(step) for step in range(60)]


def test_evaluation_uses_the_decoding_chunk(schedule):
    assert schedule().dev_chunk_frames == 60


def test_full_context_has_no_chunks(schedule):
    assert schedule("full").chunk_frames(3) is None
    assert schedule("full").dev_chunk_frames is None


def test_logs_evaluations_and_checkpoints_are_due_at_their_intervals(schedule):
    plan = schedule(log_every=3, eval_every=4, save_every=5)
    steps = range(1, 11)
    assert [done for done in steps if plan.logs_after(done)] == [3, 6, 9, 10]
    assert [done for done in steps if plan.evaluates_after(done)] == [4, 8, 10]
    assert [done for done in steps if plan.saves_after(done)] == [5]  # not 10: the trained model itself is saved then


def test_an_interval_of_0_means_never_before_the_last_step(schedule):
    plan = schedule(eval_every=0, save_every=0)
    assert [done for done in range(1, 11) if plan.evaluates_after(done)] == [10]
    assert not any(plan.saves_after(done) for done in range(1, 11))
