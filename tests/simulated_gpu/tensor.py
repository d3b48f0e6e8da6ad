"""A tensor that claims to be on cuda:0, but stores its data and computes on the CPU.

In: any torch operation. Out: the result or error of a CUDA device. Mixing devices in an operation is an error;
operations that would make the host wait for the device are recorded in `waits`, with the line of the package that
called them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import zipperasr
from tests.simulated_gpu.attention import ATTENTION
from tests.simulated_gpu.graph import Recorder

PACKAGE = f"{Path(zipperasr.__file__).parent}/"
aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPIES = {aten._to_copy.default, aten.copy_.default}
# operations whose result or its size is known only to the device
WAITING = {
    aten._local_scalar_dense.default, aten.equal.default, aten.masked_select.default, aten.nonzero.default,
    aten._unique2.default, aten.unique_consecutive.default, aten.unique_dim.default, aten.bincount.default,
}  # fmt: skip


class SimulatedTensor(torch.Tensor):
    """`on_cpu` holds the data; a view shares the data of its base."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> SimulatedTensor:
        shape, strides, offset = on_cpu.size(), on_cpu.stride(), on_cpu.storage_offset()
        made = torch.Tensor._make_wrapper_subclass(
            cls, shape, strides=strides, storage_offset=offset, dtype=on_cpu.dtype, device=DEVICE
        )
        made.on_cpu = on_cpu
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: a simulated tensor was used outside of simulated_gpu()")

    def __repr__(self, **_: object) -> str:
        return f"SimulatedTensor({self.on_cpu!r})"

    def tolist(self) -> list:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False):
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return self.cpu().numpy()

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: SimulatedTensor) -> None:
        torch.Tensor.data.__set__(self, other)  # shape, strides, precision
        self.on_cpu = other.on_cpu


@dataclass(frozen=True)
class Wait:
    """A point at which the host waits for all queued work of the device."""

    what: str
    place: str  # file:line function, the innermost of our package


@dataclass(repr=False)
class SimulatedDevice(TorchDispatchMode):
    """Context manager within which CUDA tensors can be created and used in this thread."""

    waits: list[Wait] = field(default_factory=list)
    streams: list = field(default_factory=list)
    pinned: dict[int, object] = field(default_factory=dict)  # storages, kept alive so that no address is reused
    recorder: Recorder = field(default_factory=Recorder)  # of CUDA graphs

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = object.__hash__

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in PINNING:
            return PINNING[func](self, *args)
        tensors = list(_tensors((args, *kwargs.values())))
        _check_devices(func, args, tensors)
        if (reason := self._why_the_host_waits(func, args, kwargs, tensors)) is not None:
            self.record(f"{func}: {reason}")
        on_cpu = {name: _on_cpu(value) for name, value in kwargs.items()}
        pinned = on_cpu.pop("pin_memory", False)
        compute = ATTENTION.get(func, func)
        result = compute(*_on_cpu(args), **on_cpu)
        if pinned:
            self._pin(result)
        if not _is_on_device(func, args, kwargs, tensors):
            return result
        if self.recorder.is_active:
            self.recorder.graph.add(compute, _on_cpu(args), on_cpu, result, not _aliases(func))
        result = _wrapped(result)
        return return_and_correct_aliasing(func, args, kwargs, result) if _aliases(func) else result

    def record(self, what: str) -> None:
        if self.recorder.is_active:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {what}")
        self.waits.append(Wait(what, _place()))

    def is_pinned(self, tensor: Tensor, *_: object) -> bool:
        return not isinstance(tensor, SimulatedTensor) and tensor.untyped_storage()._cdata in self.pinned

    def pin(self, tensor: Tensor, *_: object) -> Tensor:
        """A copy in pinned memory."""
        if isinstance(tensor, SimulatedTensor):
            raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")
        copy = tensor.clone()
        self._pin(copy)
        return copy

    def _pin(self, tensor: Tensor) -> None:
        self.pinned[tensor.untyped_storage()._cdata] = tensor.untyped_storage()

    def _why_the_host_waits(self, func, args, kwargs, tensors) -> str | None:
        if func in COPIES:
            return self._why_a_copy_waits(func, args, kwargs)
        if not any(isinstance(tensor, SimulatedTensor) for tensor in tensors):
            return None
        if func in WAITING or (func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None):
            return "the host needs a value or a size from the device"
        if func in INDEXING:
            if any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1])):
                return "only the device knows how many elements a mask has"
            if any(not isinstance(tensor, SimulatedTensor) for tensor in tensors):
                return "indices or a value are copied from the CPU"
        return None

    def _why_a_copy_waits(self, func, args, kwargs) -> str | None:
        """A copy between devices is asynchronous only if requested, and from or to pinned memory."""
        source = args[1] if func is aten.copy_.default else args[0]
        if func is aten.copy_.default:
            to_device = isinstance(args[0], SimulatedTensor)
            non_blocking = bool(args[2]) if len(args) > 2 else kwargs.get("non_blocking", False)
        else:
            target = kwargs.get("device") or source.device
            to_device = target.type == "cuda"
            non_blocking = kwargs.get("non_blocking", False)
        from_device = isinstance(source, SimulatedTensor)
        if from_device == to_device:
            return None
        if from_device:
            into_pinned = func is not aten.copy_.default or self.is_pinned(args[0])
            return None if non_blocking and into_pinned else "a copy to the host"
        if not self.is_pinned(source):
            return "a copy from pageable memory"
        return None if non_blocking else "a blocking copy from pinned memory"


PINNING = {
    aten.is_pinned.default: SimulatedDevice.is_pinned,
    aten._pin_memory.default: SimulatedDevice.pin,
}


def _check_devices(func, args, tensors) -> None:
    """CUDA's rules for mixing devices. Raises RuntimeError if an operation must not mix a CPU and a CUDA tensor."""
    here = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
    if not here or len(here) == len(tensors) or func in COPIES:
        return
    strangers = [tensor for tensor in tensors if not isinstance(tensor, SimulatedTensor)]
    if isinstance(args[0], SimulatedTensor) and func in INDEXING:  # torch copies indices and scalars
        strangers = [one for one in strangers if one.ndim and not any(one is index for index in _tensors(args[1]))]
    elif torch.Tag.pointwise in func.tags or func is aten.fill_.Tensor:  # a scalar is passed to the kernel by value
        in_place = func._schema.is_mutable
        if isinstance(args[0], SimulatedTensor) or (not in_place and any(tensor.ndim for tensor in here)):
            strangers = [one for one in strangers if one.ndim]
    if strangers:
        shapes = ", ".join(str(tuple(one.shape)) for one in strangers)
        raise RuntimeError(f"Expected all tensors to be on the same device: {func} on cuda:0 got CPU tensors {shapes}")


def _tensors(values) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _on_cpu(value):
    if isinstance(value, SimulatedTensor):
        return value.on_cpu
    if isinstance(value, list | tuple):
        return type(value)(map(_on_cpu, value))
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


def _wrapped(value):
    if isinstance(value, Tensor):
        return SimulatedTensor(value)
    return type(value)(map(_wrapped, value)) if isinstance(value, list | tuple) else value


def _is_on_device(func, args, kwargs, tensors) -> bool:
    if func is aten.copy_.default:
        return isinstance(args[0], SimulatedTensor)
    if (device := kwargs.get("device")) is not None:
        return device.type == "cuda"
    return any(isinstance(tensor, SimulatedTensor) for tensor in tensors)


@functools.cache
def _aliases(func) -> bool:
    """Whether results are views of arguments, or the arguments themselves."""
    return any(result.alias_info is not None for result in func._schema.returns)


def _place() -> str:
    """The innermost line of the package in the call stack."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "outside of zipperasr"
    return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} {frame.f_code.co_name}"
