"""Select the utterances of a set from an official split.

In: a corpus in one language; the ids of a list, or hours to sample. Out: entries, sorted on disk, and the ids without
audio or text. Only ids are kept in memory; a split that is sampled is read twice instead.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.corpora import find_corpus, read_corpus
from zipperasr.corpora.utterance import Utterance
from zipperasr.datadir.entry import ENTRIES
from zipperasr.datadir.sampling import hash_of, threshold_for_hours
from zipperasr.datadir.sorted_spool import SortedSpool
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.prepare.probing import probe
from zipperasr.prepare.utterance_lists import Wanted


def clean_text(text: str, lower_case: bool) -> str:
    """Return the text in Unicode NFC with single spaces. Scoring normalisation is separate."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":  # of spaces, " " is printable
        text = " ".join(text.split())
    return text.lower() if lower_case else text


@dataclass
class Selection:
    """The entries that have audio and text, and the ids of those that do not."""

    entries: SortedSpool
    ids: list[pa.Array] = field(default_factory=list)  # the corpus's own
    speakers: Counter[str] = field(default_factory=Counter)  # -> utterances
    segmented: bool = False  # some entries are parts of a recording
    missing: list[str] = field(default_factory=list)  # id TAB reason
    empty: list[str] = field(default_factory=list)  # ids without text
    excluded: set[str] = field(default_factory=set)  # ids of the split that were not allowed

    @property
    def all_ids(self) -> pa.Array:
        return pa.concat_arrays(self.ids) if self.ids else pa.array([], pa.string())


class Selector:
    """Selects from the splits of one corpus in one language."""

    def __init__(self, row: DatasetRow, root: Path, scratch: Path, seed: int):
        self._row, self._root = row, root
        self._lower_case = find_corpus(row.reader).upper_case
        self._spools, self._records = scratch / "spools", scratch / "durations"
        self._seed = seed

    def read(self, split: str) -> Iterator[Utterance]:
        """Yield the utterances of an official split, as the corpus has them."""
        return read_corpus(self._row.reader, self._root, self._row.language, split)

    def select(self, split: str, wanted: Wanted, banned: Collection[str]) -> Selection:
        """Select what is wanted, not banned, and has audio and text. Raises ValueError on a repeated id."""
        found = Selection(SortedSpool(ENTRIES, "utt", self._spools))
        for utterances, exist in self._probed(self._wanted(split, wanted, banned, found.excluded), f"{split}.chosen"):
            self._take(found, utterances, exist, wanted.counts)
        self._check_unique(found.all_ids, split)
        not_seen = _not_seen(found, wanted.counts or {}, banned)
        found.missing += [f"{utt_id}\ton the list, not in {split}" for utt_id in not_seen]
        return found

    def _take(
        self, found: Selection, utterances: Sequence[Utterance], exist: Sequence[bool], counts: Counter[str] | None
    ) -> None:
        rows = list(utterances)
        texts = [clean_text(utterance.text, self._lower_case) for utterance in rows]
        if not (all(exist) and all(texts)):
            rows, texts = _usable(found, utterances, exist, texts)
            if not rows:
                return
        ids, speakers, audio, _, languages, starts_s, ends_s, durations_s = zip(*rows, strict=True)
        found.ids.append(pa.array(ids, pa.string()))
        found.speakers.update(speakers)
        found.segmented = found.segmented or any(start_s is not None for start_s in starts_s)
        utts = [f"{speaker}-{utt_id}" for speaker, utt_id in zip(speakers, ids, strict=True)]
        repeats = [counts[utt_id] for utt_id in ids] if counts else [1] * len(ids)
        unknown = [None] * len(ids)
        found.entries.append([utts, speakers, audio, texts, languages, durations_s, repeats, starts_s, ends_s, unknown])

    def _probed(self, utterances: Iterator[Utterance], name: str) -> Iterator[tuple[list[Utterance], list[bool]]]:
        return probe(utterances, self._records / f"{self._row.corpus}_{self._row.language}_{name}.txt")

    def _wanted(self, split: str, wanted: Wanted, banned: Collection[str], excluded: set[str]) -> Iterator[Utterance]:
        def candidates() -> Iterator[Utterance]:
            for utterance in self.read(split):
                if utterance.id in banned:
                    excluded.add(utterance.id)
                elif wanted.counts is None or utterance.id in wanted.counts:
                    yield utterance

        if wanted.hours is None:
            return candidates()
        hashes, durations_s = array("Q"), array("d")
        for utterances, _ in self._probed(candidates(), f"{split}.all"):
            hashes.extend(hash_of(utterance.id, self._seed) for utterance in utterances)
            durations_s.extend(utterance.duration_s for utterance in utterances)
        limit = threshold_for_hours(hashes, durations_s, wanted.hours)
        return (utterance for utterance in candidates() if hash_of(utterance.id, self._seed) <= limit)

    def _check_unique(self, ids: pa.Array, split: str) -> None:
        if pc.count_distinct(ids).as_py() < len(ids):
            counts = ids.value_counts()
            utt_id = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
            raise ValueError(
                f"{self._root}: {split}: id {utt_id!r} is repeated in {self._row.corpus} {self._row.language}; "
                "remove one of its lines"
            )


def _not_seen(found: Selection, counts: Collection[str], banned: Collection[str]) -> list[str]:
    """Return the ids of a list that are not in the split."""
    num_seen = len(found.entries) + len(found.missing) + len(found.empty)
    if num_seen >= len(counts):
        return []
    seen = {*found.all_ids.to_pylist(), *found.empty, *(line.partition("\t")[0] for line in found.missing)}
    return sorted(utt_id for utt_id in counts if utt_id not in seen and utt_id not in banned)


def _usable(
    found: Selection, utterances: Sequence[Utterance], exist: Sequence[bool], texts: Sequence[str]
) -> tuple[list[Utterance], list[str]]:
    """Return the utterances that have audio and text; record the others in `found`."""
    rows, kept = [], []
    for utterance, there, text in zip(utterances, exist, texts, strict=True):
        if not there:
            found.missing.append(f"{utterance.id}\tno audio file {utterance.audio}")
        elif not text:
            found.empty.append(utterance.id)
        else:
            rows.append(utterance)
            kept.append(text)
    return rows, kept
