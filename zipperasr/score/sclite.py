"""result.txt as `sclite -r ref.trn trn -h hyp.trn trn -i rm -o all stdout` prints it.

In: scored utterances of a test set. Out: summary in per cent, summary in counts, alignments. sclite folds case in
ids and words (ASCII letters); speakers stand in order of their first hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.score.sclite_alignments import alignments, ascii_lower
from zipperasr.score.sclite_tables import SpeakerCounts, percentages, raw_counts
from zipperasr.score.scored import ScoredUtterance
from zipperasr.score.trn import speaker_of

TITLE = "hyp.trn"


def result_text(utterances: Sequence[ScoredUtterance], title: str = TITLE) -> str:
    """The three parts of `-o all`; `title` is the hypothesis file's name as sclite was given it."""
    by_speaker: dict[str, list[ScoredUtterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(ascii_lower(speaker_of(utterance)), []).append(utterance)
    counts = [_counts(speaker, members) for speaker, members in by_speaker.items()]
    return percentages(counts, title) + raw_counts(counts, title) + alignments(by_speaker, title)


def _counts(speaker: str, utterances: Sequence[ScoredUtterance]) -> SpeakerCounts:
    operations = "".join(utterance.operations for utterance in utterances)
    return SpeakerCounts(
        name=speaker,
        sentences=len(utterances),
        correct=operations.count("C"),
        substitutions=operations.count("S"),
        deletions=operations.count("D"),
        insertions=operations.count("I"),
        sentence_errors=sum(utterance.num_errors > 0 for utterance in utterances),
    )
