"""The text of RESULTS.md and of the benchmark page.

In: decodings, groups, figure paths, and where to look for the rest. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.languages import LanguageTable
from zipperasr.report import provenance
from zipperasr.report.collect import Decoding, Training
from zipperasr.report.evidence import convergence_table, forgetting_table, norms_table
from zipperasr.report.figures.lid import read_cosines
from zipperasr.report.groups import Groups
from zipperasr.report.tables import counts_table, group_table, marks_table, overview

HEADINGS = {
    "source": "Source domain (stage 1's corpora; the paper's Tables II and III)",
    "larger": "Larger target languages (Tables IV and V)",
    "small": "Small target languages (Table VI)",
}


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
    at: Sources,
) -> str:
    """RESULTS.md: results first, then figures, then what they rest on."""
    parts = ["# Results", _how_to_read(groups), overview(decodings, groups, languages)]
    for group, heading in HEADINGS.items():
        parts += _section(heading, group_table(decodings, group, groups, languages), "nothing of it is decoded yet")
    parts += _section("Combining marks deleted or kept", marks_table(decodings, languages), "no such test set")
    forgotten = forgetting_table(decodings, groups, languages)
    parts += _section(
        "Forgetting: error rate after stage 2 less that after stage 1", forgotten, "stage 1 is not scored"
    )
    parts += _section("Convergence", convergence_table(trainings), "needs vanilla and another system")
    heading = "Specific over shared: norms of the two parts of B"
    parts += _section(heading, norms_table(trainings), "no routed system")
    parts += ["## Figures", *(f"![{title}]({path})" for title, path in figures.items())]
    parts += ["## LID embeddings", _lid_note(at.exp / "lid")]
    parts += ["## All counts", _folded("every test set of every system", counts_table(decodings, languages))]
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
        "Error rates in per cent: WER (words), or CER (code points, spaces dropped) where a column says so; aligned "
        "with sclite's costs on text normalised as the language table says. Each utterance counts once. "
        "A mean is over languages; several test sets of one language count as one."
    ]
    if groups.without_sft_data:
        lines.append(
            f"\\* {', '.join(groups.without_sft_data)}: no SFT data (scored after stage 2, never trained in it)."
        )
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


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _section(heading: str, body: str, instead: str) -> list[str]:
    return [f"## {heading}", body or f"({instead})"]


def _made_by(at: Sources) -> list[str]:
    stages = provenance.stages_table(at.exp / "stages.tsv")
    parts = _section("Time and memory", stages, "no exp/stages.tsv; asr.sh writes it")
    if at.command:
        parts += ["## Command", f"```\n{at.command}\n```"]
    return [*parts, "## Machine and versions", provenance.machine_table()]
