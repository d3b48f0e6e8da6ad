"""Load a checkpoint with another number of processes than saved it, without rounding.

ZeRO concatenates the parameters of a group in the same order for any number of ranks, pads the end with zeros and gives
each rank an equal slice of master weights and moments. In: the files of all old ranks. Out: the content that the file
of a new rank would have. Model weights, step counts and loss scale are equal on all ranks; ZeRO-0 has nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from zipperasr.train.checkpoint_files import load_tensors

# DeepSpeed's names of files, and of what they contain
RANK_OF_FILE = re.compile(r"(?<=zero_pp_rank_)\d+(?=_mp_rank_\d+_optim_states\.pt$)")
STATE, BASE, MASTERS = "optimizer_state_dict", "base_optimizer_state", "single_partition_of_fp32_groups"
PADDINGS = "group_paddings"
MOMENTS = ("exp_avg", "exp_avg_sq")  # of LanguageAdamW, whose `step` is equal on all ranks


@dataclass(frozen=True)
class Resharding:
    """From `old_world_size` ranks to rank `rank` of `world_size`.

    Attributes:
        numels: elements of each parameter group; empty without ZeRO.
        sizes: elements of this rank's slice of each group, with padding.
    """

    old_world_size: int
    world_size: int
    rank: int
    numels: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()

    @classmethod
    def to_this_rank(cls, engine, old_world_size: int) -> Resharding:
        """engine: DeepSpeed's engine of the new ranks."""
        ranks = old_world_size, distributed.get_world_size(), distributed.get_rank()
        if not engine.zero_optimization():
            return cls(*ranks)
        zero = engine.optimizer
        numels = (sum(parameter.numel() for parameter in group) for group in zero.round_robin_bit16_groups)
        return cls(*ranks, tuple(numels), tuple(map(len, zero.single_partition_of_fp32_groups)))

    def load(self, path: str, map_location: object = None) -> dict:
        """Replacement for DeepSpeed's `load`: the file `path`, as the new ranks would have written it.

        Raises ValueError if its parameter groups are not those of this training.
        """
        if not RANK_OF_FILE.search(path):
            return {**load_tensors(path, map_location), "dp_world_size": self.world_size}
        files = [RANK_OF_FILE.sub(str(rank), path) for rank in range(self.old_world_size)]
        # A rank needs a slice only. Of mapped files, it reads nothing else.
        old = [load_tensors(file, "cpu", mmap=True)[STATE] for file in files]
        numels = tuple(sum(map(len, masters)) for masters in zip(*(rank[MASTERS] for rank in old), strict=True))
        if numels != self.numels:
            raise ValueError(
                f"{files[0]}: got parameter groups of {_listed(numels)} elements, wanted {_listed(self.numels)}; "
                "remove this checkpoint to start over"
            )
        return {STATE: self._reshard(old)}

    def _reshard(self, old: Sequence[dict]) -> dict:
        """The new rank's state, from those of the old ranks. Masters are saved without padding, moments with it."""
        masters, states = [], {}
        for group, size in enumerate(self.sizes):
            old_size = len(old[0][MASTERS][group]) + old[0][PADDINGS][group]
            masters.append(self._slice([rank[MASTERS][group] for rank in old], old_size, size))
            of_ranks = [rank[BASE]["state"].get(group) for rank in old]  # ZeRO leaves one flat tensor per group
            if of_ranks[0] is not None:  # else no step was applied yet
                states[group] = {"step": of_ranks[0]["step"].clone()}
                for name in MOMENTS:
                    states[group][name] = self._slice([state[name] for state in of_ranks], old_size, size)
        return {**old[0], MASTERS: masters, BASE: {**old[0][BASE], "state": states}}

    def _slice(self, parts: Sequence[Tensor], old_size: int, size: int) -> Tensor:
        """This rank's `size` elements of a group, padded with zeros.

        parts: slices of the old ranks; that of rank i begins with element i * old_size.
        """
        starts = [self.rank * size - old_rank * old_size for old_rank in range(len(parts))]
        pieces = [part[max(start, 0) : max(start + size, 0)] for start, part in zip(starts, parts, strict=True)]
        found = torch.cat(pieces)
        return torch.nn.functional.pad(found, (0, size - len(found)))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers) or "no"
