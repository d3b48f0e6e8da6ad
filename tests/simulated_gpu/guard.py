"""A CUDA device guard for autograd, for torch builds without CUDA.

In: torch's C++ headers and a compiler. Out: the backward pass works on tensors that claim to be on cuda:0. The
library is compiled once, in 4 s, and cached in a temporary directory.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths, library_paths

# Autograd asks the guard for the stream of every output, and the hooks whether there is an accelerator. A CPU build
# has already created its hooks when this library is loaded; ours, of the same size, replace them.
SOURCE = """
#include <new>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/utils/device_lazy_init.h>

namespace {

constexpr auto CUDA = c10::DeviceType::CUDA;
bool present = false;

struct OneDevice final : c10::impl::NoOpDeviceGuardImpl<CUDA> {
  c10::Device getDevice() const override { return {CUDA, 0}; }
  c10::Device exchangeDevice(c10::Device) const override { return {CUDA, 0}; }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device.has_index() ? device : getDevice());
  }
};
C10_REGISTER_GUARD_IMPL(CUDA, OneDevice)

struct Hooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return present; }
  bool isBuilt() const override { return present; }
  bool isAvailable() const override { return present; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return present; }
  c10::DeviceIndex deviceCount() const override { return present; }
};
static_assert(sizeof(Hooks) == sizeof(at::CUDAHooksInterface));
const auto* hooks = new (const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks())) Hooks();

}  // namespace

extern "C" void set_present(bool value) {
  present = value;
  torch::utils::set_requires_device_init(CUDA, !value);  // torch remembers that it has started CUDA
}
"""


def why_unavailable() -> str | None:
    """Why no guard can be registered on this machine; None if it can."""
    if torch.version.cuda or torch.version.hip:
        return "the simulated GPU needs a CPU build of torch: this one has a GPU backend of its own"
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        return f"the simulated GPU needs a C++ compiler, and {compiler} is not installed"
    return None


def set_present(present: bool) -> None:
    """Show autograd a CUDA device, or hide it. Raises RuntimeError with the compiler's message if the build fails."""
    _loaded().set_present(present)


@functools.cache
def _loaded() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library()))
    library.set_present.argtypes = [ctypes.c_bool]
    return library


def _library() -> Path:
    """The compiled guard for this version of torch; built if it is missing."""
    build = f"{torch.__version__} {torch.__file__} {Path(__file__).read_text(encoding='utf-8')}"
    version = hashlib.sha256(build.encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"zipperasr-cuda-guard-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    library = directory / f"guard-{version}.so"
    if library.is_file():
        return library
    with tempfile.TemporaryDirectory(dir=directory) as aside:
        source, built = Path(aside) / "guard.cpp", Path(aside) / "guard.so"
        source.write_text(SOURCE, encoding="utf-8")
        compiler = os.environ.get("CXX", "g++")
        abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
        headers = [f"-I{path}" for path in include_paths()]
        libraries = [*(f"-L{path}" for path in library_paths()), "-ltorch_python", "-ltorch_cpu", "-lc10"]
        command = [compiler, "-std=c++20", "-shared", "-fPIC", abi, *headers, str(source), "-o", str(built), *libraries]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{compiler} cannot build the device guard: {done.stderr[-2000:]}")
        built.rename(library)  # atomic, since two test processes may build it at the same time
    return library
