"""Check the error counts against jiwer's.

In: scored utterances. Out: jiwer's errors per utterance. jiwer counts the minimum number of edits; with sclite's costs
(4, 3, 3) the cheapest alignment may have more errors, never fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.score.test_set import ScoredUtterance


def jiwer_errors(utterances: Sequence[ScoredUtterance]) -> list[int]:
    """Minimum edits per utterance. Raises RuntimeError if we count fewer, which is impossible."""
    import jiwer

    output = jiwer.process_words(
        [" ".join(utterance.reference) for utterance in utterances],
        [" ".join(utterance.hypothesis) for utterance in utterances],
    )
    counts = [sum(_edits(chunk) for chunk in chunks) for chunks in output.alignments]
    for utterance, edits in zip(utterances, counts, strict=True):
        if utterance.num_errors < edits:
            raise RuntimeError(f"{utterance.id}: {utterance.num_errors} errors, jiwer {edits}: our alignment is wrong")
    return counts


class Excess:
    """Sum of the errors beyond jiwer's minimum, with the first utterance that has any."""

    def __init__(self):
        self._errors = self._utterances = 0
        self._first = ""

    def add(self, utterances: Sequence[ScoredUtterance], edits: Sequence[int]) -> None:
        """edits: jiwer's count per utterance."""
        for utterance, least in zip(utterances, edits, strict=True):
            if utterance.num_errors != least:
                self._first = self._first or f"{utterance.id}, {utterance.num_errors} errors against {least}"
                self._utterances += 1
                self._errors += utterance.num_errors - least

    def explained(self) -> str:
        """One line for notes.txt; "" if there are none."""
        if not self._utterances:
            return ""
        return (
            f"{self._errors} errors above jiwer's least-edit count, in {self._utterances} utterances: sclite's costs "
            f"(substitution 4, gap 3) take deletions and insertions around a match where substitutions alone would be "
            f"fewer (first: {self._first})"
        )


def _edits(chunk) -> int:
    """Number of edits in one AlignmentChunk of jiwer."""
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
