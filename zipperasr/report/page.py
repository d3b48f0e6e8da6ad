"""The text of RESULTS.md and of the benchmark page.

In: decodings, groups, figure paths, and where to look for the rest. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.languages import LanguageTable
from zipperasr.report import provenance
from zipperasr.report.claims.claims_page import summary_table
from zipperasr.report.claims.verdict import Claim
from zipperasr.report.collect import Decoding, Training
from zipperasr.report.costs import costs_table
from zipperasr.report.evidence import convergence_table, forgetting_table, norms_table, router_table
from zipperasr.report.faults import faults_table
from zipperasr.report.figures.lid import read_cosines
from zipperasr.report.groups import ADDED, Groups
from zipperasr.report.machine import machine_table
from zipperasr.report.paper import MORE_WITH_30H, TABLES
from zipperasr.report.tables import counts_table, group_table, marks_table, overview

CLAIMS, SCORES, HTML = "CLAIMS.md", "RESULTS.tsv", "report.html"  # beside RESULTS.md
MOST_STAGES = 30  # lines of the table of times that is not folded
MOST_COUNTED = 8  # decodings whose counts are shown in the page


@dataclass(frozen=True)
class Sources:
    """Where the stages left what the page quotes; named as the step's options."""

    exp: Path
    data: Path
    raw: Path
    dump: Path
    datasets: Path
    corpora: Path
    command: str


def results_page(
    decodings: Sequence[Decoding],
    trainings: Sequence[Training],
    groups: Groups,
    languages: LanguageTable,
    figures: Mapping[str, str],
    claims: Sequence[Claim],
    at: Sources,
) -> str:
    """RESULTS.md: results first, then figures, then what they rest on."""
    parts = ["# Results", _how_to_read(groups), overview(decodings, groups, languages)]
    for paper_table in TABLES:
        body = paper_table.markdown(decodings, groups, languages)
        parts += _section(paper_table.heading, body, "nothing of it is decoded yet")
    for paper_table in MORE_WITH_30H:
        if body := paper_table.markdown(decodings, groups, languages):
            parts.append(_folded(f"with 30 h: {paper_table.heading}", body))
    if body := group_table(decodings, ADDED, groups, languages):
        parts += ["## Languages added to trained systems", body]
    verdicts = f"{summary_table(claims)}\n\nEstimates and intervals: [{CLAIMS}]({CLAIMS})." if claims else ""
    parts += _section("The paper's claims", verdicts, "needs several systems; local/reproduce.sh trains them")
    parts += _section("Combining marks deleted or kept", marks_table(decodings, languages), "no such test set")
    parts += _section("Output that went wrong", faults_table(decodings, groups, languages), "nothing is decoded yet")
    forgotten = forgetting_table(decodings, groups, languages)
    parts += _section(
        "Forgetting: error rate after adaptation minus that after alignment", forgotten, "the alignment is not scored"
    )
    parts += _section("Convergence", convergence_table(trainings), "needs vanilla and another system")
    parts += _section("Cost of training", costs_table(trainings), "nothing is trained to its end")
    heading = "Router: p(l) after training, the share of the language's own columns in soft, of the shared in hard"
    parts += _section(heading, router_table(trainings), "no routed system")
    heading = "Specific over shared: norms of the two parts of B"
    parts += _section(heading, norms_table(trainings), "no routed system")
    parts += ["## Figures", *(f"![{title}]({path})" for title, path in figures.items())]
    parts += ["## LID embeddings", _lid_note(at.exp / "lid")]
    parts += ["## All counts", _counts(decodings, languages)]
    parts += _section("Data", provenance.tsv_table(at.data / "report.tsv"), "no data/report.tsv; stage 1 writes it")
    audio = provenance.audio_table(at.raw)
    parts += _section("Audio", audio and _folded("every set after stage 2", audio), "stage 2 has not run")
    lists = provenance.lists_table(at.datasets, at.corpora, languages)
    parts += _section("Utterance lists", lists, "the data set table names none")
    packing = provenance.packing_table(at.dump / "manifest" / "packing.json")
    parts += _section("Packing", packing, "no packing.json; stage 3 writes it")
    parts += _made_by(at)
    return "\n\n".join(parts) + "\n"


def benchmark_page(at: Sources) -> str:
    """Wall time and peak memory per stage, the device named."""
    parts = [
        "# Time and memory of one run",
        "Written by the run itself. Of several runs of a stage the longest counts; the report stage is not in it.",
    ]
    return "\n\n".join([*parts, *_made_by(at)]) + "\n"


def _how_to_read(groups: Groups) -> str:
    lines = [
        "Error rates in per cent: WER (words), or CER (graphemes, spaces dropped) where a column says so; aligned "
        "with sclite's costs on text normalised as the language table says. Each utterance counts once. "
        "A mean is over languages; several test sets of one language count as one. Several seeds are one row: mean ± "
        "standard deviation. In brackets: the paper's own figure, where its text gives one."
    ]
    if groups.without_sft_data:
        lines.append(f"\\* {', '.join(groups.without_sft_data)}: no adaptation data (scored, but not trained on).")
    return "\n\n".join(lines)


def _lid_note(lid: Path) -> str:
    """The two pairs that the paper's Fig. 7 names, where the table holds them."""
    lines = []
    for path in sorted(lid.glob("cosine_*.tsv")):
        codes, cosines = read_cosines(path)
        for one, other in (("ja", "ko"), ("th", "vi")):
            if one in codes and other in codes:
                value = cosines[codes.index(one), codes.index(other)]
                lines.append(f"- `{path.name}`: cos({one}, {other}) = {value:.2f} (the paper, Whisper large-v3: 0.41)")
    return "\n".join(lines) or "(no exp/lid/cosine_*.tsv; stage 4 writes them)"


def _counts(decodings: Sequence[Decoding], languages: LanguageTable) -> str:
    """In the page where they are few; RESULTS.tsv has them in any case."""
    if len(decodings) > MOST_COUNTED:
        return f"Every test set of all {len(decodings)} decodings: [{SCORES}]({SCORES})."
    return _folded("every test set of every system", counts_table(decodings, languages))


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _section(heading: str, body: str, instead: str) -> list[str]:
    return [f"## {heading}", body or f"({instead})"]


def _made_by(at: Sources) -> list[str]:
    stages = provenance.stages_table(at.exp / "stages.tsv")
    if stages.count("\n") > MOST_STAGES:
        stages = _folded(f"every stage of every system; in all: {stages.splitlines()[-1].strip('| ')}", stages)
    parts = _section("Time and memory", stages, "no exp/stages.tsv; asr.sh writes it")
    if at.command:
        parts += ["## Command", f"```\n{at.command}\n```"]
    return [*parts, "## Machine and versions", machine_table()]
