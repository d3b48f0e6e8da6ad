"""Join the ranks of a run through DeepSpeed, without a compiler.

In: the backend (nccl or gloo) and torch.distributed's own settings. Out: an initialised process group.
On a CPU, DeepSpeed 0.19 compiles an operator for tensor-parallel inference whenever ranks join: a C++ compiler and
85 s on two cores, for something that training and our decoding never call. It is switched off.
"""

from __future__ import annotations

from typing import Any

_UNUSED_OP = "deepspeed_shm_comm"


def join_ranks(backend: str, **settings: Any) -> None:
    """`deepspeed.init_distributed`; `settings` (init_method, rank, timeout ...) go through to it."""
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__[_UNUSED_OP] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False, **settings)
