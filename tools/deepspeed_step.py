#!/usr/bin/env python3
"""Check one DeepSpeed ZeRO-2 step of two gloo ranks on the CPU against the result computed by hand.

Each rank r has the input r + 1 and the loss w * input, so the mean gradient is 1.5, and SGD with rate 1 takes
w = 2 to 0.5. Prints one line; a wrong result or a broken installation raises.
"""

from __future__ import annotations

import os
import tempfile

import torch

NUM_RANKS = 2


def step(rank: int, meeting_point: str) -> None:
    """What one rank does; they meet at a file, so that no port has to be free."""
    import deepspeed

    from zipperasr.train.engine import join_ranks

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(NUM_RANKS))
    join_ranks("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=NUM_RANKS)
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(weight.weight, 2.0)
    engine, *_ = deepspeed.initialize(
        model=weight,
        optimizer=torch.optim.SGD(weight.parameters(), lr=1.0),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": 2},
            "zero_allow_untested_optimizer": True,
            "gradient_clipping": 100.0,
        },
    )
    engine.backward(engine(torch.full((1, 1), rank + 1.0)).sum())
    engine.step()
    if not torch.allclose(weight.weight, torch.tensor(0.5)):
        raise RuntimeError(f"rank {rank}: the weight is {weight.weight.item()}, wanted 0.5")


def main() -> None:
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(step, args=(f"{folder}/meeting_point",), nprocs=NUM_RANKS)
    print(f"ZeRO-2 step of {NUM_RANKS} gloo ranks is exact")


if __name__ == "__main__":
    main()
