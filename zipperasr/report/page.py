"""The text of RESULTS.md and of the page of stage times.

In: a `Run`, figure paths, claims, and where the stages wrote the rest. Out: Markdown. A section without content is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.report import provenance
from zipperasr.report.claims.claims_page import summary_table
from zipperasr.report.claims.verdict import Claim
from zipperasr.report.collect import Decoding, Run
from zipperasr.report.costs import costs_table
from zipperasr.report.evidence import convergence_table, faults_table, forgetting_table, norms_table, router_table
from zipperasr.report.figures.lid import read_cosines
from zipperasr.report.groups import ADDED, Groups
from zipperasr.report.machine import machine_table
from zipperasr.report.paper import MORE_WITH_30H, TABLES
from zipperasr.report.tables import counts_table, group_table, marks_table, oracle_table, overview

CLAIMS, SCORES, HTML = "CLAIMS.md", "RESULTS.tsv", "report.html"  # beside RESULTS.md
MOST_STAGES = 30  # rows of the table of stage times that are shown without a click
MOST_COUNTED = 8  # decodings whose counts are part of the page


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        exp: models, decodings, stage times.
        data: stage 1's output, for its report.tsv.
        raw: stage 2's output.
        dump: stage 3's output, for the packing statistics.
        languages: the language table.
        datasets: the data set table.
        corpora: corpora.yaml, which names the directory of the utterance lists.
        command: the command line to show.
    """

    exp: Path
    data: Path
    raw: Path
    dump: Path
    languages: Path
    datasets: Path
    corpora: Path
    command: str


def results_page(run: Run, figures: Mapping[str, str], claims: Sequence[Claim], checks: str, sources: Sources) -> str:
    """RESULTS.md: results, figures, then what they are based on.

    figures: {title: path relative to the page}. checks: table of `checks_table`.
    """
    decodings, trainings, groups, languages = run.decodings, run.trainings, run.groups, run.languages
    parts = ["# Results", _how_to_read(groups), overview(decodings, groups, languages)]
    for paper_table in TABLES:
        parts += _section(paper_table.heading, paper_table.markdown(decodings, groups, languages))
    for paper_table in MORE_WITH_30H:
        if body := paper_table.markdown(decodings, groups, languages):
            parts.append(_collapsed(f"with 30 h: {paper_table.heading}", body))
    parts += _section("Languages added to trained systems", group_table(decodings, ADDED, groups, languages))
    verdicts = f"{summary_table(claims)}\n\nEstimates and intervals: [{CLAIMS}]({CLAIMS})." if claims else ""
    parts += _section("The paper's claims", verdicts)
    parts += _section("Checks of the experiment", checks)
    parts += _section("Combining marks deleted or kept", marks_table(decodings, languages))
    heading = "N-best lists: error rates of the best text of each list"
    parts += _section(heading, oracle_table(decodings, languages))
    parts += _section("Faulty output", faults_table(decodings, groups, languages))
    heading = "Forgetting: error rates of the source domain after adaptation minus those after alignment"
    parts += _section(heading, forgetting_table(decodings, groups, languages))
    parts += _section("Convergence", convergence_table(trainings))
    parts += _section("Cost of training", costs_table(trainings))
    heading = "Router weights after training: share of the language-specific columns in soft, of the shared in hard"
    parts += _section(heading, router_table(trainings))
    parts += _section("Specific over shared: norms of the two parts of B", norms_table(trainings))
    parts += _section("Figures", "\n\n".join(f"![{title}]({path})" for title, path in figures.items()))
    parts += _section("Language embeddings", _cosines_of_related(run.exp / "lid"))
    parts += _section("All counts", _counts(decodings, languages))
    trained = [training.model.directory for training in trainings]
    parts += _section("Code", provenance.code_version(trained, sources.corpora))
    return "\n\n".join([*parts, *_provenance(sources, languages), *_made_by(sources)]) + "\n"


def benchmark_page(sources: Sources) -> str:
    """Wall time and peak memory per stage, and the machine."""
    parts = [
        "# Time and memory of one run",
        "Written by stage 9, which is not included. If a stage ran several times, its longest run counts.",
    ]
    return "\n\n".join([*parts, *_made_by(sources)]) + "\n"


def _how_to_read(groups: Groups) -> str:
    lines = [
        "Error rates in per cent: WER (words), or CER (graphemes without spaces) where a column says so; aligned with "
        "sclite's costs on text normalised as the language table says. Each utterance counts once. A mean is over "
        "languages; several test sets of one language count as one. Several seeds are one row: mean ± standard "
        "deviation. In brackets: the paper's own rate, where its text gives one."
    ]
    if groups.without_sft_data:
        lines.append(f"\\* {', '.join(groups.without_sft_data)}: no adaptation data (scored, but not trained on).")
    return "\n\n".join(lines)


def _cosines_of_related(lid: Path) -> str:
    """The two pairs of languages that the paper's Fig. 7 discusses."""
    lines = []
    for path in sorted(lid.glob("cosine_*.tsv")):
        codes, cosines = read_cosines(path)
        for one, other in (("ja", "ko"), ("th", "vi")):
            if one in codes and other in codes:
                value = cosines[codes.index(one), codes.index(other)]
                lines.append(f"- `{path.name}`: cos({one}, {other}) = {value:.2f} (the paper, Whisper large-v3: 0.41)")
    return "\n".join(lines)


def _counts(decodings: Sequence[Decoding], languages: LanguageTable) -> str:
    """All counts for a few decodings, else a link to RESULTS.tsv."""
    if len(decodings) > MOST_COUNTED:
        return f"Every test set of all {len(decodings)} decodings: [{SCORES}]({SCORES})."
    return _collapsed("every test set of every system", counts_table(decodings, languages))


def _provenance(sources: Sources, languages: LanguageTable) -> list[str]:
    audio = provenance.audio_table(sources.raw)
    return [
        *_section("Data", provenance.tsv_table(sources.data / "report.tsv"), "no data/report.tsv; stage 1 writes it"),
        *_section("Audio", audio and _collapsed("every set after stage 2", audio), "stage 2 has not run"),
        *_section("Utterance lists", provenance.lists_table(sources.datasets, sources.corpora, languages)),
        *_section(
            "Packing",
            provenance.packing_table(sources.dump / "manifest" / "packing.json"),
            "no packing.json; stage 3 writes it",
        ),
    ]


def _made_by(sources: Sources) -> list[str]:
    stages = provenance.stages_table(sources.exp / "stages.tsv")
    if stages.count("\n") > MOST_STAGES:
        stages = _collapsed(f"every stage of every system; total: {stages.splitlines()[-1].strip('| ')}", stages)
    parts = _section("Time and memory", stages, "no exp/stages.tsv; asr.sh writes it")
    if sources.command:
        parts += ["## Command", f"```\n{sources.command}\n```"]
    return [*parts, "## Machine and versions", machine_table()]


def _section(heading: str, body: str, reason: str = "") -> list[str]:
    """Heading and body, or nothing without a body. reason: logged if the body is empty."""
    if not body and reason:
        log(f"left out of the report: {heading} ({reason})")
    return [f"## {heading}", body] if body else []


def _collapsed(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"
