"""Install the simulated GPU as torch's CUDA device.

Inside the context manager, `device="cuda"`, `.to("cuda")`, streams and pinned memory work, in new threads too, and
`SimulatedDevice.waits` lists when the host waited for the device.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from unittest import mock

import torch

from tests.simulated_gpu import guard
from tests.simulated_gpu.graph import Graph
from tests.simulated_gpu.tensor import SimulatedDevice


class Stream:
    """Work is done immediately, so a stream has nothing to order; waits for it are recorded."""

    def __init__(self, simulated: SimulatedDevice, device: torch.device | None = None):
        self.device, self._simulated = device, simulated
        simulated.streams.append(self)

    def synchronize(self) -> None:
        self._simulated.record("Stream.synchronize")

    def wait_stream(self, other: Stream) -> None:
        """The device waits, not the host."""


@contextlib.contextmanager
def simulated_gpu() -> Iterator[SimulatedDevice]:
    """One GPU of compute capability 9.0."""
    guard.set_present(True)
    device = SimulatedDevice()
    functions = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda *_: (9, 0),
        "max_memory_allocated": lambda *_: 0,
        "Stream": functools.partial(Stream, device),
        "stream": lambda _: contextlib.nullcontext(),
        "current_stream": functools.partial(Stream, device),
        "CUDAGraph": Graph,
        "graph": device.recorder.record,
        "graph_pool_handle": object,
    }
    with contextlib.ExitStack() as stack:
        stack.callback(guard.set_present, False)
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        run = _also_computing_on(device, threading.Thread.run)
        stack.enter_context(mock.patch.object(threading.Thread, "run", run))
        stack.enter_context(_inference_mode_as_no_grad())
        # in this thread: autograd starts its threads only if there is a GPU when it is first used
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        # so that Module.to replaces parameters, and tied ones stay tied
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.enter_context(_computing_on(device))
        yield device


@contextlib.contextmanager
def _computing_on(device: SimulatedDevice) -> Iterator[None]:
    """Both settings are per thread."""
    before = torch._C._only_lift_cpu_tensors()
    # so that torch.tensor(..., device="cuda") copies a CPU tensor, which the simulation sees
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with device:
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _also_computing_on(device: SimulatedDevice, run: Callable[[threading.Thread], None]):
    def run_on_device(thread: threading.Thread) -> None:
        with _computing_on(device):
            run(thread)

    return run_on_device


@contextlib.contextmanager
def _inference_mode_as_no_grad() -> Iterator[None]:
    """In inference mode the simulation would see `to` and `reshape` as one operation each, not their parts."""

    def enter(mode: torch.inference_mode) -> None:
        mode.no_grad = torch.set_grad_enabled(torch.is_grad_enabled() and not mode.mode)
        mode.no_grad.__enter__()

    def leave(mode: torch.inference_mode, *error: object) -> None:
        mode.no_grad.__exit__(*error)

    with mock.patch.multiple(torch.inference_mode, __enter__=enter, __exit__=leave):
        yield
