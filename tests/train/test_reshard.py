"""ZeRO's state survives any change of the number of ranks bit-identically, and its files are read safely."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from tests.audio.test_ark import Touch
from zipperasr.train.reshard import Resharding

NUMELS = (1, 7, 24)  # of the parameter groups; some ranks have padding only
STEPS = torch.tensor([3.0, 0.0, 2.0], dtype=torch.float64)  # of three languages
RANKS = (1, 2, 3, 4, 8)
NAME = "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"


def size_of_slice(numel: int, world_size: int) -> int:
    return -(-numel // (2 * world_size)) * 2


def groups(seed: int) -> list[torch.Tensor]:
    return [torch.randn(numel, generator=torch.Generator().manual_seed(seed)) for numel in NUMELS]


def save(directory: Path, world_size: int, stepped: bool = True) -> None:
    """Write what DeepSpeed writes: master weights without padding, moments with it."""
    weights, means, squares = (groups(seed) for seed in range(3))
    for rank in range(world_size):
        sizes = [size_of_slice(numel, world_size) for numel in NUMELS]

        def mine(flat: list[torch.Tensor], rank: int = rank, sizes: list[int] = sizes) -> list[torch.Tensor]:
            return [group[rank * size : (rank + 1) * size].clone() for group, size in zip(flat, sizes, strict=True)]

        masters = mine(weights)
        padding = [size - len(master) for size, master in zip(sizes, masters, strict=True)]
        moments = zip(mine(means), mine(squares), padding, strict=True)
        states = {
            group: {"exp_avg": pad(mean, (0, n)), "exp_avg_sq": pad(square, (0, n)), "step": STEPS.clone()}
            for group, (mean, square, n) in enumerate(moments)
        }
        base = {"state": states if stepped else {}, "param_groups": [{"lr": 0.5, "params": [0]}]}
        state = {
            "single_partition_of_fp32_groups": masters, "group_paddings": padding, "base_optimizer_state": base,
            "overflow": False,
        }  # fmt: skip
        torch.save({"optimizer_state_dict": state}, directory / NAME.format(rank))


def load(directory: Path, old: int, new: int, numels: tuple[int, ...] = NUMELS) -> list[dict]:
    sizes = tuple(size_of_slice(numel, new) for numel in numels)
    ranks = [Resharding(old, new, rank, numels, sizes) for rank in range(new)]
    return [rank.load(str(directory / NAME.format(rank.rank)))["optimizer_state_dict"] for rank in ranks]


@pytest.mark.parametrize(("old", "new"), [*itertools.product(RANKS, RANKS)])
def test_every_element_goes_to_the_rank_that_updates_it(tmp_path, old, new):
    save(tmp_path, old)
    loaded = load(tmp_path, old, new)
    wanted = {"masters": groups(0), "exp_avg": groups(1), "exp_avg_sq": groups(2)}
    for group, numel in enumerate(NUMELS):
        size = size_of_slice(numel, new)
        for name, flat in wanted.items():
            slices = [
                rank["single_partition_of_fp32_groups"][group]
                if name == "masters"
                else rank["base_optimizer_state"]["state"][group][name]
                for rank in loaded
            ]
            assert [len(part) for part in slices] == [size] * new
            assert torch.equal(torch.cat(slices), pad(flat[group], (0, size * new - numel)))
        for rank in loaded:
            assert torch.equal(rank["base_optimizer_state"]["state"][group]["step"], STEPS)
    assert all(rank["base_optimizer_state"]["param_groups"][0]["lr"] == 0.5 for rank in loaded)


def test_a_checkpoint_before_the_first_step_has_no_moments(tmp_path):
    save(tmp_path, 2, stepped=False)
    for rank in load(tmp_path, 2, 4):
        assert rank["base_optimizer_state"]["state"] == {}
        assert len(rank["single_partition_of_fp32_groups"]) == len(NUMELS)


def test_the_models_file_gets_the_new_number_of_ranks(tmp_path):
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"dp_world_size": 2, "module": {"w": torch.ones(3)}}, path)
    loaded = Resharding(2, 4, 1).load(str(path))
    assert loaded["dp_world_size"] == 4
    assert torch.equal(loaded["module"]["w"], torch.ones(3))


def test_other_parameter_groups_are_refused(tmp_path):
    save(tmp_path, 2)
    with pytest.raises(
        ValueError,
        match=r"rank_0_.*: got parameter groups of 1, 7, 24 elements, wanted 1, 7, 25; remove this checkpoint",
    ):
        load(tmp_path, 2, 4, (1, 7, 25))


def test_code_in_the_file_of_another_rank_is_not_run(tmp_path):
    save(tmp_path, 2)
    torch.save({"optimizer_state_dict": Touch(tmp_path / "run")}, tmp_path / NAME.format(1))
    with pytest.raises(ValueError, match=r"rank_1_.*: contains objects that a checkpoint does not need"):
        load(tmp_path, 2, 1)
    assert not (tmp_path / "run").exists()
