"""One aligned utterance, as every report of sclite needs it.

In: words of both sides and the operations between them. Out: counts. Words are bytes: without `-e`, sclite counts bytes
and folds the case of ASCII letters only, as the methods of bytes do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """`operations`: C, S, D, I; `identical`: correct words have the same bytes on both sides."""

    utterance: bytes  # "(speaker-number)"
    reference: Sequence[bytes]
    hypothesis: Sequence[bytes]
    operations: str
    identical: bool = True

    def counts(self) -> tuple[int, int, int, int]:
        """Correct, substituted, deleted, inserted."""
        operations = self.operations
        return operations.count("C"), operations.count("S"), operations.count("D"), operations.count("I")

    def steps(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (operation, reference word, hypothesis word); b"" on the side of a gap."""
        reference, hypothesis = iter(self.reference), iter(self.hypothesis)
        for operation in self.operations:
            ref = next(reference) if operation != "I" else b""
            yield operation, ref, next(hypothesis) if operation != "D" else b""
