"""No reader fails with a traceback on a mutated file: it accepts it or raises ValueError or OSError naming a file.

The examples are the same in every run. `HYPOTHESIS_EXAMPLES=20000 pytest tests/fuzz` tries more, and `make fuzz` also
covers binary files, models and the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import text_makers

FURTHER = os.environ.get("HYPOTHESIS_EXAMPLES")
looked_into = settings(
    max_examples=int(FURTHER or 150),
    derandomize=not FURTHER,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("name", text_makers())
def test_a_mutated_file_is_accepted_or_rejected_by_name(tmp_path: Path, name: str):
    target = text_makers()[name](tmp_path)
    target.read()
    for path in target.files:
        survives(path, target.read, tmp_path if name != "--train_args" else "--train_args")


def survives(path: Path, read: Callable[[], object], named: Path | str) -> None:
    """Mutate `path` repeatedly; errors of `read` must name a file below `named`, or the option."""
    good = path.read_bytes()

    @looked_into
    @given(st.data())
    def look(data) -> None:
        path.write_bytes(data.draw(mutated(good)))
        try:
            read()
        except (ValueError, OSError) as error:
            assert str(named) in str(error), f"names no file: {error!r}"

    try:
        look()
    finally:
        path.write_bytes(good)
