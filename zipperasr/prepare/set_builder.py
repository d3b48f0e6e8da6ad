"""Build the data directories of one row of datasets.tsv.

In: a corpus in one language, and what each set takes from it. Out: data directories, lists of flaws below lists/, and a
report per set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.corpora import find_corpus
from zipperasr.datadir.entry import write_lines
from zipperasr.datadir.sampling import hash_of
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.datadir.write import write_tables
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.prepare.selection import Selection, Selector
from zipperasr.prepare.utterance_lists import SetReport, Wanted

HELD_OUT_SHARE = 0.01  # of train, if the official dev set is used for testing
MIN_DEV_UTTS, LARGEST_SHARE = 20, 0.1  # at least 20 utterances are held out, but not more than a tenth of a small set


@dataclass(frozen=True)
class SetOptions:
    """How sets are built."""

    strict_lists: bool = False  # flaws of utterance lists are errors
    max_missing_share: float = 0.01  # of a set's utterances; more is an error
    max_dev_utts: int = 2000
    seed: int = 17  # of sampling and of held-out dev sets


class SetBuilder:
    """Builds the sets of one row; test utterances are excluded from train and dev."""

    def __init__(self, row: DatasetRow, root: Path, out: Path, scratch: Path, options: SetOptions):
        self._row, self._root, self._out, self._options = row, root, out, options
        self._selector = Selector(row, root, scratch, options.seed)
        self._test_ids: set[str] = set()
        self._train_ids = pa.array([], pa.string())

    def build_test(self, name: str, split: str, wanted: Wanted) -> SetReport:
        """Build a test set: a whole official split, the ids of a list or a sample."""
        report = self._report(name, wanted)
        found = self._select(split, wanted, report, banned=set())
        self._test_ids.update(found.all_ids.to_pylist())
        return self._write(name, found, report)

    def build_train(self, name: str, wanted: Wanted) -> SetReport:
        """Build a training set without the ids of the test sets."""
        report = self._report(name, wanted)
        return self._write(name, self._select_train(name, wanted, report), report)

    def build_train_and_held_out(self, train: str, dev: str, wanted: Wanted) -> list[SetReport]:
        """Build a training set and a dev set of some of its speakers."""
        report = self._report(train, wanted)
        found = self._select_train(train, wanted, report)
        goal = min(num_held_out(len(found.entries)), self._options.max_dev_utts)
        speakers = sorted(found.speakers, key=self._hash)
        held_out: list[str] = []
        while sum(found.speakers[speaker] for speaker in held_out) < goal and len(speakers) > 1:
            held_out.append(speakers.pop())
        dev_report = SetReport(dev, f"held out of {train}")
        return [
            self._write(train, found, report, "speaker", speakers),
            self._write(dev, found, dev_report, "speaker", held_out),
        ]

    def build_dev(self, name: str) -> SetReport:
        """Build the official dev set without the ids of train and test, at most `max_dev_utts` of them."""
        report = SetReport(name, "all")
        dev_ids = pa.array([utterance.id for utterance in self._selector.read(self._row.dev_split)], pa.string())
        in_train = self._train_ids.filter(pc.is_in(self._train_ids, dev_ids)).to_pylist()
        found = self._select(self._row.dev_split, Wanted("all"), report, self._test_ids.union(in_train))
        if len(found.entries) > self._options.max_dev_utts:
            report.source = f"sample of {len(found.entries)} utterances"
            chosen = sorted(found.all_ids.to_pylist(), key=self._hash)[: self._options.max_dev_utts]
            found = self._selector.select(self._row.dev_split, Wanted("sample", Counter(chosen)), banned=set())
        return self._write(name, found, report)

    def _select_train(self, name: str, wanted: Wanted, report: SetReport) -> Selection:
        banned = set(self._test_ids)
        if wanted.counts is not None:
            overlap = sorted(wanted.counts.keys() & banned)
            report.overlap = len(overlap)
            self._flaw(name, "overlap", overlap, f"{len(overlap)} ids of {wanted.source} are in a test set: dropped")
        else:
            banned |= self._official_evaluation_ids()
        found = self._select(self._row.train_split, wanted, report, banned)
        if wanted.counts is None and found.excluded:
            report.overlap = len(found.excluded)
            log(f"{name}: {report.overlap} utterances have the id of one in an evaluation set and are left out")
        self._train_ids = found.all_ids
        if wanted.hours is not None:
            with self._side_file(f"{name}.sampled.txt") as temporary:
                write_lines(temporary, self._train_ids.sort().to_pylist())
        return found

    def _official_evaluation_ids(self) -> set[str]:
        names = find_corpus(self._row.reader).evaluation_splits_in_train
        return {utterance.id for name in names for utterance in self._selector.read(name)}

    def _select(self, split: str, wanted: Wanted, report: SetReport, banned: set[str]) -> Selection:
        found = self._selector.select(split, wanted, banned)
        report.missing, report.empty_text = len(found.missing), len(found.empty)
        self._check_missing(report, found.missing, len(wanted.counts or found.entries))
        if found.empty:
            log(f"{report.set}: {len(found.empty)} utterances without text are dropped")
        return found

    def _check_missing(self, report: SetReport, missing: list[str], num_wanted: int) -> None:
        if not missing:
            return
        self._flaw(report.set, "missing", missing, f"{len(missing)} of {num_wanted} utterances are not in the corpus")
        share = len(missing) / max(1, num_wanted)
        if share > self._options.max_missing_share:
            raise ValueError(
                f"{report.set}: {len(missing)} of {num_wanted} utterances ({share:.1%}) are not in the corpus or have "
                f"no audio file, wanted at most {self._options.max_missing_share:.1%}; see "
                f"{self._out}/lists/{report.set}.missing.txt, complete {self._root} or raise --max_missing_share"
            )

    def _write(
        self, name: str, found: Selection, report: SetReport, column: str = "", values: Iterable[str] = ()
    ) -> SetReport:
        """Write the selection, or only its rows whose `column` is one of `values`."""
        blocks = found.entries.blocks()
        with atomic_path(self._out / name) as temporary:
            temporary.mkdir()
            if column:
                blocks = _only(blocks, column, pa.array(values, pa.string()))
            totals = write_tables(temporary, blocks, found.segmented, self._out / name)
            if not totals.utterances:
                raise ValueError(f"{name}: no utterances are left; see {self._out}/lists and {self._root}")
            validate_data_dir(temporary, for_kaldi=False)
        report.utterances = totals.utterances
        report.hours = totals.seconds / 3600
        report.hours_with_repeats = totals.seconds_with_repeats / 3600
        if report.table_hours != "-" and report.hours_with_repeats < 0.95 * float(report.table_hours):
            report.note = f"{float(report.table_hours) - report.hours_with_repeats:.2f} h short of Table I"
            self._flaw(name, None, ["shortfall"], report.note)
        return report

    def _report(self, name: str, wanted: Wanted) -> SetReport:
        counts = wanted.counts or {}
        lines = sum(counts.values())
        report = SetReport(name, wanted.source, lines, len(counts), lines - len(counts))
        if wanted.table_hours is not None:
            report.table_hours = f"{wanted.table_hours:g}"
        if "(no " in wanted.source:
            self._flaw(name, None, ["list"], f"list not found: {wanted.source}")
        if report.repeats:
            self._flaw(name, None, ["repeats"], f"{wanted.source}: {lines} lines, {len(counts)} unique ids")
        return report

    def _flaw(self, name: str, kind: str | None, lines: list[str], message: str) -> None:
        """Log a flaw and write its ids to lists/. Raises ValueError under --strict_lists."""
        if not lines:
            return
        if kind:
            with self._side_file(f"{name}.{kind}.txt") as temporary:
                write_lines(temporary, lines)
        if self._options.strict_lists:
            raise ValueError(f"{name}: {message}; use --strict_lists false to accept it")
        log(f"{name}: {message}")

    def _side_file(self, name: str):
        return atomic_path(self._out / "lists" / name)

    def _hash(self, name: str) -> int:
        return hash_of(name, self._options.seed)


def num_held_out(num_utts: int) -> int:
    """How many utterances of a training set become the dev set."""
    least = min(MIN_DEV_UTTS, max(1, round(num_utts * LARGEST_SHARE)))
    return max(least, round(num_utts * HELD_OUT_SHARE))


def _only(blocks: Iterator[pa.RecordBatch], column: str, values: pa.Array) -> Iterator[pa.RecordBatch]:
    for block in blocks:
        kept = block.filter(pc.is_in(block[column], values))
        if len(kept):
            yield kept
