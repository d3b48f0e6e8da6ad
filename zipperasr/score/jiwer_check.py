"""jiwer's error counts beside ours, and why they differ where they do.

In: scored utterances. Out: jiwer's errors per utterance. jiwer takes the least number of edits; sclite's costs
(4, 3, 3) may take more for the same or a lower cost, never fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.score.test_set import ScoredUtterance


def jiwer_errors(utterances: Sequence[ScoredUtterance]) -> list[int]:
    """Edits per utterance by jiwer. Raises RuntimeError if ours are fewer, which no alignment can be."""
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
    """Errors that sclite's costs count above the least number, and the first utterance that has some."""

    def __init__(self):
        self._errors = self._utterances = 0
        self._first = ""

    def add(self, utterances: Sequence[ScoredUtterance], edits: Sequence[int]) -> None:
        """edits: jiwer's of each."""
        for utterance, least in zip(utterances, edits, strict=True):
            if utterance.num_errors != least:
                self._first = self._first or f"{utterance.id}, {utterance.num_errors} errors against {least}"
                self._utterances += 1
                self._errors += utterance.num_errors - least

    def explained(self) -> str:
        """One line; empty if there are none."""
        if not self._utterances:
            return ""
        return (
            f"{self._errors} errors above jiwer's least-edit count, in {self._utterances} utterances: sclite's costs "
            f"(substitution 4, gap 3) take deletions and insertions around a match where substitutions alone would be "
            f"fewer (first: {self._first})"
        )


def _edits(chunk) -> int:
    """Edits in one jiwer AlignmentChunk."""
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
