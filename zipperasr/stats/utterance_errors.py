"""The errors of each utterance of a test set, as arrays.

In: <decode_dir>/<test set>/score_*/audit.jsonl. Out: an `Audit`. Instead of texts it keeps a digest of each reference,
which shows whether two systems were scored against the same text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

OPERATIONS = "CSDI"


@dataclass(frozen=True)
class Audit:
    """One system on one test set, in order of utterance ids."""

    path: Path
    ids: list[str]
    speakers: np.ndarray  # (utts,) int; numbered in order of appearance
    references: np.ndarray  # (utts,) uint64; digests
    operations: np.ndarray  # (sum of lengths,) uint8; C S D I of all utterances, concatenated
    lengths: np.ndarray  # (utts,) int

    @cached_property
    def utterances(self) -> np.ndarray:
        """Index of the utterance of each operation: (sum of lengths,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def errors(self) -> np.ndarray:
        """Errors: (utts,)."""
        return self._count(self.operations != ord("C"))

    @cached_property
    def units(self) -> np.ndarray:
        """Reference units: (utts,)."""
        return self._count(self.operations != ord("I"))

    def _count(self, which: np.ndarray) -> np.ndarray:
        return np.bincount(self.utterances[which], minlength=len(self.lengths))


def read_audit(path: Path) -> Audit:
    """Read audit.jsonl. Raises FileNotFoundError, or ValueError with file and line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run stage 8 first")
    ids: list[str] = []
    numbers: dict[str, int] = {}
    speakers, references, lengths, operations = [], [], [], bytearray()
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            utt, speaker, reference, ops = _fields(line, f"{path}:{number}")
            if ids and utt <= ids[-1]:
                raise ValueError(f"{path}:{number}: id {utt!r} after {ids[-1]!r}, wanted ascending ids; rerun stage 8")
            ids.append(utt)
            speakers.append(numbers.setdefault(speaker, len(numbers)))
            references.append(_digest(reference))
            lengths.append(len(ops))
            operations += ops.encode()
    if not ids:
        raise ValueError(f"{path}: no utterance; rerun stage 8")
    return Audit(
        path=path,
        ids=ids,
        speakers=np.array(speakers),
        references=np.array(references, dtype=np.uint64),
        operations=np.frombuffer(bytes(operations), dtype=np.uint8),
        lengths=np.array(lengths),
    )


def check_same_references(one: Audit, other: Audit) -> None:
    """Raise ValueError with the first difference unless both have the same utterances, references and speakers."""
    odd = sorted(set(one.ids) ^ set(other.ids))
    if odd:
        has, lacks = (one, other) if odd[0] in set(one.ids) else (other, one)
        raise ValueError(
            f"{lacks.path}: {len(odd)} ids differ from {has.path}, first {odd[0]!r}, which only the latter has; "
            "decode and score the same test set (stages 7 and 8)"
        )
    unequal = np.flatnonzero(one.references != other.references)
    if len(unequal):
        row = int(unequal[0])
        got, wanted = (" ".join(_reference(audit.path, row)) for audit in (other, one))
        raise ValueError(
            f"{other.path}:{row + 1}: id {one.ids[row]!r} has reference {got!r}, but {wanted!r} in {one.path} "
            f"({len(unequal)} differ); rerun stage 8 for both with one language table and one dump/raw"
        )
    unequal = np.flatnonzero(one.speakers != other.speakers)
    if len(unequal):
        row = int(unequal[0])
        raise ValueError(
            f"{other.path}:{row + 1}: id {one.ids[row]!r} has another speaker in {one.path}; rerun stage 8 for both"
        )


def _fields(line: str, where: str) -> tuple[str, str, list[str], str]:
    try:
        record = json.loads(line)
        utt, speaker, reference = record["id"], record["speaker"], record["reference"]
        operations = record["operations"]
        unknown = operations.strip(OPERATIONS)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: not an utterance of stage 8 ({error}); rerun stage 8") from error
    if unknown or len(operations) - operations.count("I") != len(reference):
        raise ValueError(
            f"{where}: id {utt!r} has operations {operations!r} for {len(reference)} reference units, "
            f"wanted one of C S D for each, and I; rerun stage 8"
        )
    return utt, speaker, reference, operations


def _digest(reference: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b("\n".join(reference).encode(), digest_size=8).digest(), "big")


def _reference(path: Path, row: int) -> list[str]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream):
            if number == row:
                return json.loads(line)["reference"]
    raise ValueError(f"{path}: ends before line {row + 1}; it changed while it was read; run again")
