"""Make Kaldi data directories from the corpora (stage 1).

In: the tables of data sets and languages, corpora.yaml and the corpora. Out: data/{train,dev,test}_*, data/sets.tsv
(one line per set), data/report.tsv (the contents of each list and how many of them were found) and data/lists/
(sampled, missing and overlapping ids). A set contains an id once; utt2repeat says how often its list repeats it.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.corpora import find_corpus
from zipperasr.datadir.set_table import SetRow, read_sets, write_sets
from zipperasr.languages import LanguageTable
from zipperasr.parallel import processes
from zipperasr.prepare.dataset_table import (
    HELD_OUT,
    NO_DEV,
    NO_TRAIN,
    CorporaConfig,
    DatasetRow,
    load_corpora,
    load_datasets,
)
from zipperasr.prepare.set_builder import SetBuilder, SetOptions
from zipperasr.prepare.utterance_lists import SetReport, Wanted, want, write_report
from zipperasr.sole_writer import sole_writer


@dataclass(frozen=True)
class Tables:
    """The files that define the data sets."""

    datasets: Path  # conf/datasets.tsv
    languages: Path  # conf/languages.tsv
    corpora: Path  # conf/SCALE/corpora.yaml


def prepare(tables: Tables, out: Path, setting: str, options: SetOptions, nj: int = 1) -> None:
    """Build all sets of one setting (1h | 30h) in `out`, unless they are there and their inputs are unchanged.

    nj: number of processes; each builds the sets of one row of the table.
    """
    rows = load_datasets(tables.datasets, setting, LanguageTable.load(tables.languages))
    corpora = load_corpora(tables.corpora)
    roots = {row.corpus: corpora.root_of(row.corpus, tables.corpora) for row in rows}
    inputs = _fingerprint(tables, setting, options, rows, roots, corpora.utt_ids)
    table = out / "sets.tsv"
    if is_current(out, inputs) and table.is_file() and all((out / row.set).is_dir() for row in read_sets(table)):
        log(f"stage 1: {out} is complete and its inputs are unchanged; nothing to do")
        return
    with sole_writer(out):
        _build_all(rows, corpora, roots, out, options, nj)
        mark_current(out, inputs, files=())  # users may edit the tables, with utils/fix_data_dir


def _build_all(
    rows: list[DatasetRow], corpora: CorporaConfig, roots: dict[str, Path], out: Path, options: SetOptions, nj: int
) -> None:
    sets: list[SetRow] = []
    reports: list[SetReport] = []
    scratch = out / ".scratch"
    build = partial(_build_row, roots=roots, corpora=corpora, out=out, scratch=scratch, options=options)
    with _emptied(scratch), processes(min(nj, len(rows)), build) as build_rows:
        for row, found in tqdm(zip(rows, build_rows(rows), strict=True), "data sets", len(rows), unit="row"):
            reports += found
            kinds = {report.set: report.set.partition("_")[0] for report in found}
            sets += [SetRow(name, kind, row.phase, row.corpus, row.language) for name, kind in kinds.items()]
    for path, write, content in (
        (out / "sets.tsv", write_sets, sets),
        (out / "report.tsv", write_report, reports),
    ):
        with atomic_path(path) as temporary:
            write(temporary, content)
    total = {kind: sum(r.hours for r in reports if r.set.startswith(kind)) for kind in ("train", "dev", "test")}
    hours = ", ".join(f"{kind} {value:.2f} h" for kind, value in total.items())
    log(f"stage 1: read {len(rows)} data sets, wrote {len(sets)} sets to {out} ({hours}); see {out}/report.tsv")


@contextlib.contextmanager
def _emptied(scratch: Path) -> Iterator[None]:
    """Use a directory for data that does not fit into memory and for durations, which a resumed run reads."""
    shutil.rmtree(scratch / "spools", ignore_errors=True)  # left by a killed run
    yield
    shutil.rmtree(scratch)


def _build_row(
    row: DatasetRow, *, roots: dict[str, Path], corpora: CorporaConfig, out: Path, scratch: Path, options: SetOptions
) -> list[SetReport]:
    """Build test sets first, because train excludes their ids; dev last, because it excludes the ids of both."""
    gc.set_threshold(100_000)  # readers create millions of tuples without cycles; collection took a fifth of the time
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pool returns each block's memory: a seventh of the time
    builder = SetBuilder(row, roots[row.corpus], out, scratch, options)
    train_name, dev_name, tests = row.set_names()
    reports = []
    for (name, split), hours in zip(tests.items(), row.test_hours, strict=True):
        whole = Wanted("all", table_hours=hours if corpora.table_hours else None)
        wanted = want(row.test_list, corpora.utt_ids, hours, corpora.table_hours) if row.test_list else whole
        reports.append(builder.build_test(name, split, wanted))
    if row.train_split == NO_TRAIN:
        return reports
    wanted = want(row.train_list, corpora.utt_ids, row.train_hours, corpora.table_hours)
    if row.dev_split == HELD_OUT:
        reports += builder.build_train_and_held_out(train_name, dev_name, wanted)
    else:
        reports.append(builder.build_train(train_name, wanted))
        if row.dev_split != NO_DEV:
            reports.append(builder.build_dev(dev_name))
    return reports


def _fingerprint(
    tables: Tables, setting: str, options: SetOptions, rows: list[DatasetRow], roots: dict[str, Path], utt_ids: str
) -> dict[str, str]:
    """Digest tables, options and lists by content; a corpus by the modification times of its directories."""
    lists = {name: Path(utt_ids) / name for row in rows for name in (row.train_list, row.test_list) if name}
    readers = {(row.corpus, row.reader) for row in rows}
    times = [(corpus, _times(roots[corpus], find_corpus(reader).deep_tables)) for corpus, reader in sorted(readers)]
    return fingerprint(**asdict(tables), setting=setting, options=asdict(options), roots=times, **lists)


def _times(root: Path, deep_tables: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the modification times of a corpus two levels deep, and of its tables on the third.

    Directories of audio on the third level may have millions of files, so they are not listed whole.
    """
    patterns = ("*", "*/*", *(f"*/*/{table}" for table in deep_tables))
    paths = {root, *(path for pattern in patterns for path in root.glob(pattern))} if root.is_dir() else ()
    return sorted((str(path), path.stat().st_mtime_ns) for path in paths)
