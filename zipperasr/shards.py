"""Divide a stage's work into shards, which run as separate jobs, and merge them.

In: the seconds of each piece of work, the output of the stage. Out: a shard for each piece; OUT.shards/K, complete or
absent, for each shard K that has work. No result depends on the number of shards.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from zipperasr.atomic import is_current

MISSING, MERGE = "missing", "merge"
OPTION_HELP = (
    "run shard K of N alone; missing/N lists the shards that are not complete, merge/N merges all (utils/shards.sh)"
)
_JOB = re.compile(rf"(\d{{1,6}}|{MISSING}|{MERGE})/(\d{{1,6}})")


@dataclass(frozen=True)
class ShardJob:
    """What a command does: compute one of `count` shards, list the missing ones, or merge all."""

    task: int | str  # number of the shard, from 1; or MISSING, MERGE
    count: int

    @classmethod
    def parse(cls, text: str) -> ShardJob:
        """Parse `--shard`. Raises ValueError."""
        match = _JOB.fullmatch(text)
        task: int | str = 0
        if match:
            task = int(match[1]) if match[1].isdigit() else match[1]
        if not match or task == 0 or int(match[2]) < (task if isinstance(task, int) else 1):
            raise ValueError(f"--shard {text!r}: wanted K/N with K from 1 to N, {MISSING}/N or {MERGE}/N")
        return cls(task, int(match[2]))


class Balance:
    """Assigns pieces of work to shards, so that all get about the same number of seconds."""

    def __init__(self, count: int):
        self._loads = [0.0] * count

    def assign(self, seconds: Sequence[float]) -> list[int]:
        """Return the shard of each piece, from 1: the longest first, each to the shard that has least so far.

        Depends on the order of equally long pieces: give them in the order of their ids.
        """
        shards = [0] * len(seconds)
        for place in sorted(range(len(seconds)), key=lambda place: (-seconds[place], place)):
            least = self._loads.index(min(self._loads))
            self._loads[least] += seconds[place]
            shards[place] = least + 1
        return shards


@dataclass(frozen=True)
class ShardDirs:
    """The directories of the shards of one output.

    Attributes:
        out: the output of the stage.
        count: number of shards.
        inputs: fingerprint of each shard that has work. Another number of shards gives other fingerprints, so that
            shards of different divisions are never mixed.
    """

    out: Path
    count: int
    inputs: Mapping[int, dict[str, str]]

    def path(self, number: int) -> Path:
        return shards_folder(self.out) / str(number)

    def is_complete(self, number: int) -> bool:
        """Return True if a shard is complete or has no work."""
        return number not in self.inputs or is_current(self.path(number), self.inputs[number])

    def missing(self) -> list[int]:
        return [number for number in sorted(self.inputs) if not self.is_complete(number)]

    @contextmanager
    def merged(self) -> Iterator[list[Path]]:
        """Yield the complete shards in order and remove them at the end. Raises ValueError if one is missing."""
        check_complete(self.missing(), self.count, str(shards_folder(self.out)))
        yield [self.path(number) for number in sorted(self.inputs)]
        remove_shards(self.out)


def check_complete(missing: Iterable[int], count: int, where: str) -> None:
    """Raise ValueError if a shard is missing."""
    numbers = ", ".join(map(str, sorted(missing)))
    if numbers:
        raise ValueError(
            f"{where}: of {count} shards, {numbers} missing; run the stage again with the same number of shards"
        )


def shards_folder(out: Path) -> Path:
    """The directory of the shards of an output."""
    return out.with_name(f"{out.name}.shards")


def remove_shards(out: Path) -> None:
    """Remove the shards of an output, if there are any, such as those of an interrupted run."""
    if shards_folder(out).is_dir():
        shutil.rmtree(shards_folder(out))


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ranges of job numbers: {1, 2, 4} as `1:2 4:4`."""
    runs = groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])
    found = [[number for _, number in run] for _, run in runs]
    return " ".join(f"{run[0]}:{run[-1]}" for run in found)
