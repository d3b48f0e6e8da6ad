"""jiwer's error counts beside ours, and why they differ where they do.

In: scored utterances. Out: jiwer's errors per utterance. jiwer takes the least number of edits; sclite's costs
(4, 3, 3) may take more for the same or a lower cost, never fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.score.scored import ScoredUtterance


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


def explain(utterances: Sequence[ScoredUtterance], edits: Sequence[int]) -> str:
    """One line on where sclite's costs count more errors than the least; empty if they agree."""
    differing = [(utt, least) for utt, least in zip(utterances, edits, strict=True) if utt.num_errors != least]
    if not differing:
        return ""
    first, least = differing[0]
    more = sum(utterance.num_errors - edits for utterance, edits in differing)
    return (
        f"{more} errors above jiwer's least-edit count, in {len(differing)} utterances: sclite's costs (substitution "
        f"4, gap 3) take deletions and insertions around a match where substitutions alone would be fewer "
        f"(first: {first.id}, {first.num_errors} errors against {least})"
    )


def _edits(chunk) -> int:
    """Edits in one jiwer AlignmentChunk."""
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
