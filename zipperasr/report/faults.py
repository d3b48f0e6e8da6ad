"""How often output goes wrong in ways an error rate hides: nothing at all, loops, bursts, another language.

In: decodings. Out: one line per system and group of languages, in per cent of the utterances. What each column counts
is said in zipperasr/score/diagnose.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.languages import LanguageTable
from zipperasr.markdown import table
from zipperasr.report.collect import Decoding, by_system
from zipperasr.report.groups import GROUPS, Groups
from zipperasr.report.tables import LABELS, main_scores, over_seeds, system_labels
from zipperasr.score.scores_table import SetScore

COLUMNS = {"empty": "empty", "loops": "loop", "bursts": "burst of insertions", "language_errors": "other language"}
COLUMNS |= {"chat_replies": "chat reply"}


def faults_table(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
    """Seeds of one system are one row: mean and standard deviation."""
    rows = []
    for runs in by_system(decodings):
        for group in GROUPS:
            of_group = [[s for s in main_scores(run, languages) if groups.of(s) == group] for run in runs]
            if all(of_group):
                utts = sum(score.utts for score in of_group[0])
                shares = [over_seeds([_share(scores, column) for scores in of_group]) for column in COLUMNS]
                rows.append([*system_labels(runs), group, str(utts), *shares])
    header = [*LABELS, "languages", "utts", *(f"{title}, %" for title in COLUMNS.values())]
    return table(header, rows, len(LABELS) + 1) if rows else ""


def _share(scores: Sequence[SetScore], column: str) -> float:
    return 100 * sum(getattr(score, column) for score in scores) / sum(score.utts for score in scores)
