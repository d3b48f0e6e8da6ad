"""Stage 1: corpora become Kaldi data directories.

In: conf/datasets.tsv, conf/languages.tsv, conf/SCALE/corpora.yaml and the corpora. Out: data/{train,dev,test}_*,
data/sets.tsv (one line per set), data/report.tsv (what each list held and what became of it) and data/lists/
(sampled, missing and overlapping ids). Each id stands once in a set; utt2repeat keeps how often a list names it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.datadir.set_table import SetRow, read_sets, write_sets
from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import (
    HELD_OUT,
    NO_DEV,
    CorporaConfig,
    DatasetRow,
    load_corpora,
    load_datasets,
)
from zipperasr.prepare.set_builder import SetBuilder
from zipperasr.prepare.utterance_lists import SetReport, Wanted, want, write_report
from zipperasr.sole_writer import sole_writer


def prepare(options: argparse.Namespace) -> None:
    """Build all sets of one setting, unless `options.out` already holds them."""
    languages = LanguageTable.load(options.languages)
    rows = load_datasets(options.datasets, options.setting, languages)
    corpora = load_corpora(options.corpora)
    inputs = _fingerprint(options, rows, corpora)
    out = Path(options.out)
    table = out / "sets.tsv"
    if is_current(out, inputs) and table.is_file() and all((out / row.set).is_dir() for row in read_sets(table)):
        log(f"stage 1: {out} is complete and its inputs are unchanged; nothing to do")
        return
    with sole_writer(out):
        _build_all(options, rows, corpora)
        mark_current(out, inputs, files=())  # tables may be mended by hand, with utils/fix_data_dir


def _build_all(options: argparse.Namespace, rows: list[DatasetRow], corpora: CorporaConfig) -> None:
    out = Path(options.out)
    sets: list[SetRow] = []
    reports: list[SetReport] = []
    gc.set_threshold(100_000)  # readers make millions of tuples and no cycle: a fifth of the time went to looking
    with _scratch(out) as scratch:
        for row in tqdm(rows, desc="data sets", unit="row"):
            builder = SetBuilder(row, corpora.root_of(row.corpus, options.corpora), out, scratch, options)
            row_reports = _build_row(builder, row, corpora, options)
            reports += row_reports
            kinds = {report.set: report.set.partition("_")[0] for report in row_reports}
            sets += [SetRow(name, kind, row.phase, row.corpus, row.language) for name, kind in kinds.items()]
    for path, write, content in (
        (out / "sets.tsv", write_sets, sets),
        (out / "report.tsv", write_report, reports),
    ):
        with atomic_path(path) as temporary:
            write(temporary, content)
    total = {kind: sum(r.hours for r in reports if r.set.startswith(kind)) for kind in ("train", "dev", "test")}
    hours = ", ".join(f"{kind} {value:.2f} h" for kind, value in total.items())
    log(f"stage 1: read {len(rows)} corpora, wrote {len(sets)} sets to {out} ({hours}); see {out}/report.tsv")


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A directory for what does not fit into memory, and for the durations found, which help a run that goes on."""
    scratch = out / ".scratch"
    shutil.rmtree(scratch / "spools", ignore_errors=True)  # of a run that was killed
    yield scratch
    shutil.rmtree(scratch)


def _build_row(
    builder: SetBuilder, row: DatasetRow, corpora: CorporaConfig, options: argparse.Namespace
) -> list[SetReport]:
    """Test sets first, since what is in them must not be in train; dev last, since it must be in neither."""
    train_name, dev_name, tests = row.set_names()
    reports = []
    for (name, split), hours in zip(tests.items(), row.test_hours, strict=True):
        whole = Wanted("all", table_hours=hours if corpora.table_hours else None)
        wanted = want(row.test_list, corpora.utt_ids, hours, corpora.table_hours) if row.test_list else whole
        reports.append(builder.build_test(name, split, wanted))
    wanted = want(row.train_list, corpora.utt_ids, row.train_hours, corpora.table_hours)
    if row.dev_split == HELD_OUT:
        reports += builder.build_train_and_held_out(train_name, dev_name, wanted)
    else:
        reports.append(builder.build_train(train_name, wanted))
        if row.dev_split != NO_DEV:
            reports.append(builder.build_dev(dev_name))
    return reports


def _fingerprint(options: argparse.Namespace, rows: list[DatasetRow], corpora: CorporaConfig) -> dict[str, str]:
    """Tables, options and lists by content; a corpus by the times of its directories two levels deep."""
    lists = {name: Path(corpora.utt_ids) / name for row in rows for name in (row.train_list, row.test_list) if name}
    roots = {row.corpus: corpora.root_of(row.corpus, options.corpora) for row in rows}
    settings = {key: value for key, value in vars(options).items() if key not in ("out", "nj")}
    return fingerprint(
        datasets=Path(options.datasets), languages=Path(options.languages), corpora=Path(options.corpora),
        options=settings, roots={name: _times(root) for name, root in roots.items()}, **lists,
    )  # fmt: skip


def _times(root: Path) -> list[tuple[str, int]]:
    paths = [root, *root.glob("*"), *root.glob("*/*")] if root.is_dir() else []
    return sorted((str(path), path.stat().st_mtime_ns) for path in paths)
