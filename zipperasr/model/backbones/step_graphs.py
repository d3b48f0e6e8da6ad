"""CUDA graphs of the decoding step: one launch from the host instead of hundreds.

In: a function of fixed shapes. Out: its results, replayed from graphs that are recorded per bucket of rows and
positions. In small batches the GPU computes a step faster than the host can launch its kernels one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROW_BLOCK = 8  # larger batches are padded to multiples of it, smaller ones to powers of two

# (tokens, places, positions): (rows,), (rows,), number of cached positions that are read -> (rows, width).
# It may run several times with the same inputs, and must not read values of tensors on the host.
Step = Callable[[Tensor, Tensor, int], Tensor]


class StepGraphs:
    """Replays `step`; `clear` it whenever tensors that the step reads or writes have been replaced.

    Padded rows repeat earlier inputs of their row, so the step must leave rows that are not in use free to change.
    """

    def __init__(self, step: Step, position_block: int):
        self._step, self._position_block = step, position_block
        self.clear()

    def clear(self) -> None:
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._pool: object = None  # of memory: replays never overlap, so they share it

    def __call__(self, tokens: Tensor, places: Tensor, positions: int, most: tuple[int, int]) -> Tensor:
        """Return step(tokens, places, positions). most: rows and positions that exist."""
        rows, positions = min(row_bucket(len(tokens)), most[0]), _rounded(positions, self._position_block)
        key = rows, min(positions, most[1])
        if key not in self._recordings:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._recordings[key] = _Recording(self._step, *key, tokens.device)
        return self._recordings[key](tokens, places, self._pool)


class _Recording:
    """One graph with its inputs and its output, at fixed addresses."""

    def __init__(self, step: Step, rows: int, positions: int, device: torch.device):
        self._step, self._positions, self._device = step, positions, device
        self._tokens, self._places = torch.zeros(2, rows, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, tokens: Tensor, places: Tensor, pool: object) -> Tensor:
        self._tokens[: len(tokens)] = tokens
        self._places[: len(tokens)] = places
        if self._graph is None:
            self._graph = self._record(pool)
        self._graph.replay()
        return self._output[: len(tokens)].clone()  # the next replay overwrites it

    def _record(self, pool: object) -> torch.cuda.CUDAGraph:
        """Record the step without computing it, while the encoder may use the GPU in another thread."""
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):  # load kernels and create workspaces, which a recording may not
            self._step(self._tokens, self._places, self._positions)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # thread_local: what the encoder's thread does meanwhile is neither recorded nor forbidden
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._output = self._step(self._tokens, self._places, self._positions)
        return graph


def row_bucket(rows: int) -> int:
    """The number of rows to which a batch is padded."""
    return 1 << (rows - 1).bit_length() if rows <= ROW_BLOCK else _rounded(rows, ROW_BLOCK)


def _rounded(number: int, block: int) -> int:
    return -(-number // block) * block
