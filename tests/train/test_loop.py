"""What happens in step i follows from (seed, i): learning rate and chunk length."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.model import tiny
from zipperasr.train.loop import Trainer, lr_factor
from zipperasr.train.train_config import TrainConfig


def test_the_learning_rate_warms_up_linearly_and_falls_as_half_a_cosine():
    factors = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.01


@pytest.mark.parametrize("total", [1, 2, 5])
def test_a_training_of_a_few_steps_still_learns(total):
    assert all(lr_factor(step, total, 0.1) > 0 for step in range(total))


@pytest.fixture
def trainer(tmp_path):
    def make(regime: str, seed: int = 1) -> Trainer:
        config = tiny.model_config(tmp_path, train_chunk_s=(0.2, 0.4, 0.8), decode_chunk_s=0.6)
        return Trainer(None, None, None, None, None, [], TrainConfig(epochs=1), config, regime, seed, tmp_path, None)

    return make


def test_chunks_are_drawn_per_step_from_the_seed(trainer):
    drawn = [trainer("chunked").chunk_frames(step) for step in range(60)]
    assert drawn == [trainer("chunked").chunk_frames(step) for step in range(60)]
    assert set(drawn) == {20, 40, 80}
    assert drawn != [trainer("chunked", seed=2).chunk_frames(step) for step in range(60)]


def test_evaluation_uses_the_decoding_chunk(trainer):
    assert trainer("chunked").chunk_frames() == 60


def test_full_context_has_no_chunks(trainer):
    assert trainer("full").chunk_frames(3) is None
    assert trainer("full").chunk_frames() is None
