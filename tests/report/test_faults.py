from __future__ import annotations

from dataclasses import replace

from zipperasr.report.collect import find_decodings
from zipperasr.report.evidence import faults_table
from zipperasr.report.groups import load_groups


def test_faults_are_shares_of_a_groups_utterances(pristine_run, languages):
    """In the example, 3 of 12 low-resource hypotheses loop, 6 are in another language, and 1 was decoded again."""
    groups = load_groups(pristine_run / "conf" / "datasets.tsv", languages)
    vanilla = find_decodings(pristine_run / "exp")[1]
    counts = {"ar": {"loops": 3, "retried": 1}, "ja": {"language_errors": 3}, "pt": {"language_errors": 3}}
    scores = [replace(score, **counts.get(score.language, {})) for score in vanilla.scores]
    lines = faults_table([replace(vanilla, scores=scores)], groups, languages).splitlines()
    low = next(line for line in lines if "| low-resource |" in line)
    assert low == "| `vanilla` | chunked | greedy | low-resource | 12 | 0.00 | 25.00 | 8.33 | 0.00 | 50.00 | 0.00 |"
    assert lines[0].startswith(
        "| system | encoder | search | languages | utts | empty, % | loop, % | loop, decoded again, % |"
    )
