"""Check the values in the tables of a Kaldi data directory.

In: a block of a table. Out: nothing, or ValueError with file:line, id, got, wanted, remedy. A rule may have a fast
check of a whole block; if that fails or does not exist, the rule checks each value.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.datadir.arrow_blocks import Block
from zipperasr.datadir.table_checks import REMEDY, place


def _fits(number: Callable[[str], float], test: Callable[[float], bool]) -> Callable[[str], bool]:
    """Return a check for values that `number` can parse and `test` accepts."""

    def accepts(value: str) -> bool:
        try:
            return test(number(value))
        except ValueError:
            return False

    return accepts


def _all_at_least(kind: pa.DataType, least: float) -> Callable[[pa.Array], bool]:
    """Return a fast check that all values are finite numbers of at least `least`."""

    def accepts(values: pa.Array) -> bool:
        try:
            numbers = pc.cast(values, kind)
        except pa.ArrowInvalid:
            return False
        return pc.all(pc.and_(pc.is_finite(numbers), pc.greater_equal(numbers, least))).as_py()

    return accepts


class Rule(NamedTuple):
    """How many values a line has, and which are allowed."""

    least: int
    most: int | None  # None: any number
    wanted: str = ""
    accepts: Callable[[str], bool] = lambda value: True
    accepts_all: Callable[[pa.Array], bool] | None = None
    remedy: str = REMEDY


SECONDS = Rule(
    1, 1, "a finite number above 0", _fits(float, lambda s: 0 < s < inf), _all_at_least(pa.float64(), 5e-324),
    "utils/fix_data_dir removes such utterances",
)  # fmt: skip
SECONDS_OR_0 = SECONDS._replace(
    wanted="a finite number of at least 0", accepts=_fits(float, lambda s: 0 <= s < inf),
    accepts_all=_all_at_least(pa.float64(), 0), remedy=REMEDY,
)  # fmt: skip
WHOLE = Rule(1, 1, "a whole number of at least 1", _fits(int, lambda n: n >= 1), _all_at_least(pa.int64(), 1))
WARP = Rule(1, 1, "a number between 0.5 and 1.5", _fits(float, lambda warp: 0.5 < warp < 1.5))
ANYTHING = Rule(0, None)

RULES = {
    "utt2spk": Rule(1, 1),
    "spk2utt": Rule(1, None),
    "text": ANYTHING,  # an utterance without speech
    "utt2lang": Rule(1, None),
    "utt2dur": SECONDS,
    "utt2repeat": WHOLE,
    "utt2num_samples": WHOLE,
    "utt2num_frames": Rule(1, 1, "a whole number above 0", _fits(float, lambda n: 0 < n < inf and n.is_integer())),
    "wav.scp": Rule(
        1, None, "a path without `~`, which only a shell expands", lambda value: not value.startswith("~"),
        lambda values: not pc.any(pc.starts_with(values, "~")).as_py(),
    ),
    "segments": Rule(3, 3),
    "reco2dur": SECONDS._replace(remedy=REMEDY),
    "reco2file_and_channel": Rule(2, 2, "a file and channel A or B", lambda value: value.split()[1] in ("A", "B", "1")),
    "spk2gender": Rule(1, 1, "m or f", lambda value: value in ("m", "f")),
    "spk2warp": WARP,
    "utt2warp": WARP,
    **dict.fromkeys(("feats.scp", "vad.scp", "utt2uniq", "cmvn.scp"), ANYTHING),
}  # fmt: skip


def check_values(block: Block, path: Path, rule: Rule) -> None:
    """Raise ValueError for the first value that breaks the rule."""
    _check_counts(block, path, rule)
    if rule.wanted and not (rule.accepts_all and rule.accepts_all(block.values)):
        for row, value in enumerate(block.values.to_pylist()):
            if not rule.accepts(value):
                raise ValueError(f"{place(block, row, path)}: got {value!r}, wanted {rule.wanted}; {rule.remedy}")


def _check_counts(block: Block, path: Path, rule: Rule) -> None:
    if rule.least == 0 and rule.most is None:
        return
    if block.plain and pc.min(pc.binary_length(block.values)).as_py() > 0:  # then there is one more value than spaces
        if rule.least == 1 and rule.most is None:
            return
        numbers = pc.min_max(pc.count_substring(block.values, " ")).as_py()
        if numbers["min"] + 1 >= rule.least and (rule.most is None or numbers["max"] + 1 <= rule.most):
            return
    for row, value in enumerate(block.values.to_pylist()):
        count = len(value.split())
        if count < rule.least or (rule.most is not None and count > rule.most):
            wanted = rule.least if rule.least == rule.most else f"{rule.least} or more"
            raise ValueError(f"{place(block, row, path)}: got {count} values, wanted {wanted}; {REMEDY}")
