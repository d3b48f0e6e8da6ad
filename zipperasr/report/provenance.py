"""Provenance of the results: commits, stage times, utterance lists, data sets, packing.

In: files that the stages wrote. Out: Markdown tables, empty if a stage recorded nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from zipperasr.code_version import comes_after, last_change
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.set_table import read_sets
from zipperasr.languages import LanguageTable
from zipperasr.markdown import table
from zipperasr.prepare.dataset_table import SETTINGS, load_corpora, load_datasets
from zipperasr.report.read_files import read_json, read_tsv
from zipperasr.run_record import TrainingRun, load_run


def stages_table(path: Path) -> str:
    """The longest recorded run of each stage and description, since later runs may have found it finished.

    Empty if no stage was recorded.
    """
    if not path.is_file():
        return ""
    header, rows = read_tsv(path)
    wanted = ["stage", "description", "wall_s", "peak_rss_mb", "when"]
    if header != wanted:
        raise ValueError(f"{path}: got columns {header}, wanted {wanted}")
    longest: dict[tuple[float, str], tuple[float, float, str]] = {}
    for stage, description, wall_s, peak_mb, when in rows:
        run = (_number(wall_s, path), _number(peak_mb, path), when)
        key = (_number(stage, path), description)
        longest[key] = max(run, longest.get(key, run))
    ordered = sorted(longest.items(), key=lambda item: (item[0][0], item[1][2]))
    lines = [[f"{stage:.0f}", what, f"{wall:.1f}", f"{peak:.0f}"] for (stage, what), (wall, peak, _) in ordered]
    total = sum(wall_s for wall_s, _, _ in longest.values())
    highest = max((peak_mb for _, peak_mb, _ in longest.values()), default=0.0)
    lines.append(["", "**all**", f"**{total:.1f}**", f"**{highest:.0f}**"])
    return table(["stage", "does", "wall time, s", "peak memory, MB"], lines, num_labels=2)


def code_version(trainings: Iterable[Path], corpora: Path) -> str:
    """The commits that trained the models, and the one that fixed the corpora; empty if no training recorded one.

    trainings: their directories. corpora: corpora.yaml, beside further configuration of the corpora.
    """
    runs = {directory.name: load_run(TrainingRun, directory) for directory in trainings}
    commits = {name: run.versions.get("commit", "") for name, run in runs.items() if run}
    if not any(commits.values()):
        return ""
    counts = Counter(commits.values())
    if len(counts) == 1:
        lines = [f"All {len(commits)} trainings: commit `{next(iter(counts))}`."]
    else:
        lines = [f"The trainings differ in their code ({len(counts)} versions):"]
        for one, count in counts.most_common():
            names = ", ".join(f"`{name}`" for name, other in commits.items() if other == one)
            of = f"commit `{one}`" if one else "unknown commit"
            lines.append(f"- {of}: {count} trainings ({names})")
    fixed = last_change(sorted(corpora.parent.glob("*corpora.yaml")))
    if fixed:
        before = all(comes_after(one, fixed) for one in counts)
        when = "before all of these commits" if before else "**not** known to be before all of these commits"
        lines.append(f"\nThe corpora's configuration was last changed by commit `{fixed}`, {when}.")
    return "\n".join(lines)


def lists_table(datasets: Path, corpora: Path, languages: LanguageTable) -> str:
    """Every utterance list in datasets.tsv, absent ones included: lines, unique ids, SHA-256."""
    utt_ids = Path(load_corpora(corpora).utt_ids)
    rows = [row for setting in SETTINGS for row in load_datasets(datasets, setting, languages)]
    lines = []
    for name in sorted({name for row in rows for name in (row.train_list, row.test_list) if name}):
        path = utt_ids / name
        if path.is_file():
            content = path.read_bytes()
            ids = content.split()
            lines.append([f"`{name}`", str(len(ids)), str(len(set(ids))), hashlib.sha256(content).hexdigest()[:16]])
        else:
            lines.append([f"`{name}`", "not found", "–", "–"])
    return table(["list", "lines", "unique ids", "SHA-256 (first 16)"], lines) if lines else ""


def audio_table(raw: Path) -> str:
    """Every set after stage 2: utterances, hours, quarantined recordings; empty before stage 2."""
    if not (raw / "sets.tsv").is_file():
        return ""
    lines = []
    for row in read_sets(raw / "sets.tsv"):
        durations_s = [float(seconds) for seconds in read_table(raw / row.set / "utt2dur").values()]
        quarantine = raw / row.set / "quarantine.tsv"
        num_quarantined = len(read_tsv(quarantine)[1]) if quarantine.is_file() else 0
        hours = f"{sum(durations_s) / 3600:.3f}"
        lines.append([row.set, row.kind, row.language, str(len(durations_s)), hours, str(num_quarantined)])
    return table(["set", "kind", "language", "utterances", "hours", "quarantined"], lines, num_labels=3)


def tsv_table(path: Path) -> str:
    """A tab-separated file as a table; empty if there is no file."""
    if not path.is_file():
        return ""
    header, rows = read_tsv(path)
    return table(header, rows)


def packing_table(path: Path) -> str:
    """Stage 3's packing statistics ({phase: {name: value}}); empty if there is no file."""
    phases = read_json(path)
    if not phases:
        return ""
    if not all(isinstance(values, dict) for values in phases.values()):
        raise ValueError(f"{path}: got {phases}, wanted statistics by phase; rerun stage 3")
    facts = list(dict.fromkeys(fact for values in phases.values() for fact in values))
    rows = [[phase, *(str(values.get(fact, "–")) for fact in facts)] for phase, values in phases.items()]
    return table(["phase", *(fact.replace("_", " ") for fact in facts)], rows)


def _number(text: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{path}: got {text!r}, wanted a number; remove the line or rerun the stage") from error
