"""A simulated GPU for each test, and the tiny backbones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.conftest import backbones
from tests.simulated_gpu import guard
from tests.simulated_gpu.install import simulated_gpu
from tests.simulated_gpu.tensor import SimulatedDevice

__all__ = ["backbones"]


@pytest.fixture
def gpu() -> Iterator[SimulatedDevice]:
    """The simulated device; skips the test if it cannot be simulated."""
    if reason := guard.why_unavailable():
        pytest.skip(reason)
    with simulated_gpu() as device:
        yield device
