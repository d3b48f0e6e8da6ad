"""sets.tsv: the list of data directories, with kind, phase, corpus and language.

Stage 1 writes it next to the data directories; stages 2 and 3 copy it next to theirs.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from zipperasr.text_lines import numbered_lines

BOTH = "both"  # phase of data that the alignment and the adaptation use


@dataclass(frozen=True)
class SetRow:
    """One line of sets.tsv."""

    set: str
    kind: str  # train | dev | test
    phase: str  # align | sft | both
    corpus: str
    language: str

    def is_in(self, phase: str) -> bool:
        """True if `phase`, align or sft, uses the set."""
        return self.phase in (phase, BOTH)


def read_sets(path: str | Path) -> list[SetRow]:
    """Read sets.tsv. Raises FileNotFoundError if the previous stage has not run, ValueError for a malformed line."""
    path = Path(path)
    if not path.is_file():
        stage = {"raw": 2, "manifest": 3}.get(path.parent.name, 1)
        raise FileNotFoundError(f"{path}: no such file; run stage {stage} first")
    columns = [field.name for field in fields(SetRow)]
    rows = []
    for number, line in numbered_lines(path):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {', '.join(columns)}; rerun stage 1")
        rows.append(SetRow(*cells))
    return rows[1:]


def write_sets(path: Path, rows: list[SetRow]) -> None:
    """Write sets.tsv."""
    from zipperasr.datadir.entry import write_lines  # loads pyarrow, which a model does not need

    header = "\t".join(field.name for field in fields(SetRow))
    write_lines(path, [header, *("\t".join(astuple(row)) for row in rows)])
