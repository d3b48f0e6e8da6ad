"""CUDA graphs on the simulated GPU: a recording of operations, and their replay on the same storages.

Python is not run again in a replay, so a number or a decision that a recorded function took from the host is frozen, as
on a GPU; and as there, a recording may not wait for the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass
class Graph:
    """In place of torch.cuda.CUDAGraph."""

    operations: list[Callable[[], None]] = field(default_factory=list)
    replays: int = 0

    def add(self, function: Callable, args: tuple, kwargs: dict, result: object, makes_new: bool) -> None:
        """Record a computed operation. makes_new: its results are neither arguments nor views of them."""
        results = [one for one in pytree.tree_leaves(result) if isinstance(one, Tensor)] if makes_new else []

        def again() -> None:
            found = pytree.tree_leaves(function(*args, **kwargs))
            for tensor, value in zip(results, [one for one in found if isinstance(one, Tensor)], strict=False):
                tensor.copy_(value)

        self.operations.append(again)
        for tensor in results:
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)  # a recording computes nothing

    def replay(self) -> None:
        self.replays += 1
        for operation in self.operations:
            operation()


@dataclass
class Recorder:
    """What the simulated device records at present, in one thread."""

    graph: Graph | None = None
    thread: int = 0
    graphs: list[Graph] = field(default_factory=list)  # all, in the order of recording

    @property
    def is_active(self) -> bool:
        return self.graph is not None and threading.get_ident() == self.thread

    @contextmanager
    def record(self, graph: Graph, capture_error_mode: str = "global", **_: object) -> Iterator[None]:
        """In place of torch.cuda.graph."""
        assert capture_error_mode == "thread_local"  # otherwise the encoder's thread would be recorded too
        self.graph, self.thread = graph, threading.get_ident()
        self.graphs.append(graph)
        try:
            yield
        finally:
            self.graph = None
