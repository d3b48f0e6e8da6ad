"""All reports on one system, from its paths.

In: speakers and paths, in the order of the hypotheses. Out: the reports. Alignments are kept on disk, so that memory
does not grow with the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from zipperasr.score.sclite.alignments import LINE_WIDTH, dump_head, speaker_head, utterance_text
from zipperasr.score.sclite.details import Details
from zipperasr.score.sclite.path import Path
from zipperasr.score.sclite.sentences import sentence_text, sentences_head
from zipperasr.score.sclite.spool import Spool
from zipperasr.score.sclite.summary_tables import SpeakerCounts, percentages, raw_counts, total

REPORTS = ("sum", "rsum", "snt", "spk", "dtl", "pralign")  # in the order in which sclite writes them


@dataclass(frozen=True)
class Layout:
    """Options that change the format of the reports."""

    line_width: int = LINE_WIDTH
    fold_case: bool = True  # not -s
    characters: bool = False  # -c

    @property
    def attributes(self) -> bytes:
        return (b"Character_align " if self.characters else b"") + self.dump_attributes

    @property
    def dump_attributes(self) -> bytes:
        return b"" if self.fold_case else b"Case_sensitve "  # sclite's spelling

    @property
    def unit(self) -> bytes:
        return b"# Chr" if self.characters else b"# Wrd"


class System:
    """Collects paths and writes reports; close it to delete its temporary files."""

    def __init__(self, title: bytes, reports: frozenset[str], layout: Layout = Layout()):
        self.title, self._reports, self._layout = title, reports, layout
        self.counts: dict[bytes, SpeakerCounts] = {}  # speakers in order of their first hypothesis
        self._details = Details()
        self._speaker_details: dict[bytes, Details] = {}
        self._sentence_counts: dict[bytes, list[int]] = {}
        self._alignments, self._sentences = Spool(), Spool()

    def add(self, speaker: bytes, path: Path) -> None:
        """Add one utterance."""
        if speaker not in self.counts:
            self.counts[speaker] = SpeakerCounts(speaker)
        self.counts[speaker].add(path)
        layout = self._layout
        if "pralign" in self._reports:
            text = utterance_text(path, layout.line_width, layout.fold_case, layout.dump_attributes)
            self._alignments.add(speaker, text + b"\n")
        if "dtl" in self._reports:
            self._details.add(path)
        if "spk" in self._reports:
            self._speaker_details.setdefault(speaker, Details()).add(path)
        if "snt" in self._reports:
            so_far = self._sentence_counts.setdefault(speaker, [0, 0, 0, 0])
            self._sentences.add(speaker, sentence_text(path, so_far, layout.fold_case, layout.attributes))

    def by_speaker(self) -> Iterator[SpeakerCounts]:
        return iter(self.counts.values())

    def write(self, report: str, stream: BinaryIO) -> None:
        """Write a report over all speakers."""
        counts = list(self.by_speaker())
        if report == "sum":
            stream.write(percentages(counts, self.title, self._layout.unit))
        elif report == "rsum":
            stream.write(raw_counts(counts, self.title, self._layout.unit))
        elif report == "dtl":
            stream.write(self._details.overall_report(self.title, total(counts)))
        else:
            self._write_alignments(counts, stream)

    def write_speaker(self, report: str, speaker: SpeakerCounts, stream: BinaryIO) -> None:
        """Write a report of one speaker (`spk` or `snt`)."""
        if report == "spk":
            stream.write(self._speaker_details[speaker.name].speaker_report(self.title, speaker))
        else:
            stream.write(sentences_head(self.title, speaker.name))
            self._sentences.copy(speaker.name, stream)

    def _write_alignments(self, counts: list[SpeakerCounts], stream: BinaryIO) -> None:
        stream.write(dump_head(self.title, [speaker.name for speaker in counts]))
        for number, speaker in enumerate(counts):
            stream.write(speaker_head(number, speaker.name, speaker.sentences))
            self._alignments.copy(speaker.name, stream)
        stream.write(b"\n")

    def close(self) -> None:
        self._alignments.close()
        self._sentences.close()
