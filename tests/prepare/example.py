"""The tables of a recipe for one or two small corpora, and a function that runs stage 1 on them."""

from __future__ import annotations

from pathlib import Path

from tests.corpora.example import write_mls, write_text
from zipperasr.prepare.dataset_table import COLUMNS
from zipperasr.stages import prepare_data

TRAIN_IDS = [f"{speaker}_7_{number:06d}" for speaker in (15, 159, 1595) for number in range(4)]
DEV_IDS, TEST_IDS = ["20_7_000000", "20_7_000001"], ["30_7_000000", "30_7_000001", "31_7_000000"]
MLS_ROW = "sft mls de both train 1000 dev test 14.29 train/lite_{setting}/de.txt -"


class Recipe:
    """A directory with tables and corpora."""

    def __init__(self, base: Path, *rows: str, table_hours: bool = False):
        self.base, self.out = base, base / "data"
        self.write_rows(*(rows or (MLS_ROW,)))
        roots = [f"  {corpus}: {base / corpus}" for corpus in ("mls", "commonvoice", "librispeech", "msr86k")]
        write_text(
            base / "corpora.yaml", "roots:", *roots, f"utt_ids: {base / 'utt_ids'}", f"table_hours: {table_hours}"
        )
        header = "code\twhisper_token\tname\tunit\tnormaliser\tprompt"
        languages = [f"{code}\t{code}\t{code}\twer\twhisper\tx" for code in ("de", "ar", "en", "ru")]
        write_text(base / "languages.tsv", header, *languages)

    def write_rows(self, *rows: str) -> None:
        write_text(self.base / "datasets.tsv", "\t".join(COLUMNS), *("\t".join(row.split()) for row in rows))

    def write_mls(self, seconds: float = 1.0) -> None:
        write_mls(self.base / "mls", {"train": TRAIN_IDS, "dev": DEV_IDS, "test": TEST_IDS}, seconds)

    def write_list(self, name: str, ids: list[str]) -> None:
        write_text(self.base / "utt_ids" / name, *ids)

    def prepare(self, *options: str) -> int:
        """Run stage 1; returns its exit status."""
        base = self.base
        arguments = [
            f"--datasets={base / 'datasets.tsv'}", f"--languages={base / 'languages.tsv'}",
            f"--corpora={base / 'corpora.yaml'}", f"--out={self.out}", "--nj=2", *options,
        ]  # fmt: skip
        return prepare_data.main(arguments)

    def ids(self, name: str, table: str = "text") -> list[str]:
        return [line.split()[0] for line in (self.out / name / table).read_text().splitlines()]

    def report(self, name: str) -> dict[str, str]:
        header, *lines = [line.split("\t") for line in (self.out / "report.tsv").read_text().splitlines()]
        return next(dict(zip(header, line, strict=True)) for line in lines if line[0] == name)
