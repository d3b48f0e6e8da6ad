"""One row of datasets.tsv becomes its data directories.

In: a corpus in one language, and what each set shall hold. Out: directories, side files below lists/ and a report
per set. Only what is selected is kept in memory, and a sampled split is read twice instead.
"""

from __future__ import annotations

import argparse
import unicodedata
from array import array
from collections.abc import Iterator
from pathlib import Path

from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.corpora import read_corpus
from zipperasr.corpora.utterance import Utterance
from zipperasr.data.datadir import Entry, write_data_dir, write_lines
from zipperasr.data.datasets import NO_DEV, DatasetRow
from zipperasr.data.lists import SetReport, Wanted, hash_of, threshold_for_hours
from zipperasr.data.probe import with_durations
from zipperasr.data.validate import validate_data_dir

MIN_DEV_UTTS = 20
HELD_OUT_SHARE = 0.01  # of train, where no official dev set is free
UPPER_CASE_CORPORA = {"librispeech"}  # their case says nothing: written lower case


def clean_text(text: str, corpus: str) -> str:
    """Unicode NFC, single blanks, and lower case where the corpus has only capitals. Not scoring normalisation."""
    text = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
    return text.lower() if corpus in UPPER_CASE_CORPORA else text


class SetBuilder:
    """Builds the sets of one row; remembers what is in test so that train and dev leave it out."""

    def __init__(self, row: DatasetRow, root: Path, out: Path, options: argparse.Namespace):
        self._row, self._root, self._out, self._options = row, root, out, options
        self._test_ids: set[str] = set()
        self._train_ids: set[str] = set()

    def build_test(self, name: str, split: str, wanted: Wanted) -> SetReport:
        """A test set: a whole official split, a list's ids or a sample."""
        report = self._report(name, wanted)
        entries = self._select(split, wanted, report, banned=set())
        self._test_ids.update(entries)
        return self._write(name, list(entries.values()), report)

    def build_train(self, name: str, wanted: Wanted) -> SetReport:
        """A training set without the ids of the test sets."""
        report = self._report(name, wanted)
        entries = self._select_train(name, wanted, report)
        return self._write(name, list(entries.values()), report)

    def build_train_and_held_out(self, train: str, dev: str, wanted: Wanted) -> list[SetReport]:
        """A training set and a dev set cut from it, by whole speakers."""
        report = self._report(train, wanted)
        entries = self._select_train(train, wanted, report)
        goal = min(max(MIN_DEV_UTTS, round(len(entries) * HELD_OUT_SHARE)), self._options.max_dev_utts)
        speakers = sorted({entry.speaker for entry in entries.values()}, key=self._hash)
        held_out: dict[str, Entry] = {}
        while len(held_out) < goal and len(speakers) > 1:
            speaker = speakers.pop()
            held_out |= {utt_id: entry for utt_id, entry in entries.items() if entry.speaker == speaker}
        kept = [entry for utt_id, entry in entries.items() if utt_id not in held_out]
        dev_report = SetReport(dev, f"held out of {train}")
        return [self._write(train, kept, report), self._write(dev, list(held_out.values()), dev_report)]

    def build_dev(self, name: str) -> SetReport:
        """The official dev set without ids of train and test, capped."""
        report = SetReport(name, "all")
        entries = self._select(self._row.dev_split, Wanted("all"), report, self._test_ids | self._train_ids)
        ids = sorted(entries, key=self._hash)[: self._options.max_dev_utts]
        if len(ids) < len(entries):
            report.source = f"sample of {len(entries)} utterances"
        return self._write(name, [entries[utt_id] for utt_id in ids], report)

    def _select_train(self, name: str, wanted: Wanted, report: SetReport) -> dict[str, Entry]:
        banned = set(self._test_ids)
        if wanted.counts is not None:
            overlap = sorted(wanted.counts.keys() & banned)
            report.overlap = len(overlap)
            self._flaw(name, "overlap", overlap, f"{len(overlap)} ids of {wanted.source} are in a test set: dropped")
        else:
            banned |= self._official_evaluation_ids()
        entries = self._select(self._row.train_split, wanted, report, banned)
        self._train_ids = set(entries)
        if wanted.hours is not None:
            with self._side_file(f"{name}.sampled.txt") as temporary:
                write_lines(temporary, sorted(entries))
        return entries

    def _official_evaluation_ids(self) -> set[str]:
        """Where train may be sampled from splits that contain dev and test (Common Voice's validated)."""
        if self._row.corpus != "commonvoice":
            return set()
        names = dict.fromkeys(name for name in ("test", self._row.dev_split) if name != NO_DEV)
        return {utt.id for name in names for utt in read_corpus("commonvoice", self._root, self._row.language, name)}

    def _select(self, split: str, wanted: Wanted, report: SetReport, banned: set[str]) -> dict[str, Entry]:
        """Original id -> entry of all that is wanted, has audio and text, and is not banned."""
        entries: dict[str, Entry] = {}
        missing: list[str] = []
        empty: list[str] = []
        for utterance, has_audio in with_durations(self._wanted(split, wanted, banned), self._options.nj):
            text = clean_text(utterance.text, self._row.corpus)
            if utterance.id in entries:
                raise ValueError(
                    f"{self._root}: {split}: id {utterance.id!r} comes twice in {self._row.corpus} "
                    f"{self._row.language}; remove one of its lines"
                )
            if not has_audio:
                missing.append(f"{utterance.id}\tno audio file {utterance.audio}")
            elif not text:
                empty.append(utterance.id)
            else:
                repeat = wanted.counts[utterance.id] if wanted.counts else 1
                entries[utterance.id] = _entry(utterance, text, repeat)
        if wanted.counts is not None:
            known = entries.keys() | banned | {line.partition("\t")[0] for line in missing} | set(empty)
            missing += [f"{utt_id}\ton the list, not in {split}" for utt_id in sorted(wanted.counts.keys() - known)]
        report.missing, report.empty_text = len(missing), len(empty)
        self._check_missing(report, missing, len(wanted.counts or entries))
        if empty:
            log(f"{report.set}: {len(empty)} utterances have no text: dropped")
        return entries

    def _wanted(self, split: str, wanted: Wanted, banned: set[str]) -> Iterator[Utterance]:
        def candidates() -> Iterator[Utterance]:
            for utterance in read_corpus(self._row.corpus, self._root, self._row.language, split):
                if utterance.id not in banned and (wanted.counts is None or utterance.id in wanted.counts):
                    yield utterance

        if wanted.hours is None:
            return candidates()
        hashes, durations_s = array("Q"), array("d")
        for utterance, _ in with_durations(candidates(), self._options.nj):
            hashes.append(self._hash(utterance.id))
            durations_s.append(utterance.duration_s)
        limit = threshold_for_hours(hashes, durations_s, wanted.hours)
        return (utterance for utterance in candidates() if self._hash(utterance.id) <= limit)

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

    def _write(self, name: str, entries: list[Entry], report: SetReport) -> SetReport:
        if not entries:
            raise ValueError(f"{name}: no utterance is left; see {self._out}/lists and the corpus in {self._root}")
        write_data_dir(self._out / name, entries)
        validate_data_dir(self._out / name, for_kaldi=False)
        report.utterances = len(entries)
        report.hours = sum(entry.duration_s for entry in entries) / 3600
        report.hours_with_repeats = sum(entry.duration_s * entry.repeat for entry in entries) / 3600
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
            self._flaw(name, None, ["list"], f"no list at hand: {wanted.source}")
        if report.repeats:
            self._flaw(name, None, ["repeats"], f"{wanted.source}: {lines} lines, {len(counts)} unique ids")
        return report

    def _flaw(self, name: str, kind: str | None, lines: list[str], message: str) -> None:
        """Count it, list it, say it; under --strict_lists it is an error."""
        if not lines:
            return
        if kind:
            with self._side_file(f"{name}.{kind}.txt") as temporary:
                write_lines(temporary, lines)
        if self._options.strict_lists:
            raise ValueError(f"{name}: {message}; --strict_lists false accepts it")
        log(f"{name}: {message}")

    def _side_file(self, name: str):
        return atomic_path(self._out / "lists" / name)

    def _hash(self, name: str) -> int:
        return hash_of(name, self._options.seed)


def _entry(utterance: Utterance, text: str, repeat: int) -> Entry:
    return Entry(
        f"{utterance.speaker}-{utterance.id}", utterance.speaker, utterance.audio, text, utterance.lang_code,
        utterance.duration_s or 0.0, repeat, utterance.start_s, utterance.end_s,
    )  # fmt: skip
