"""Assemble report.html.

In: scored decodings, dump/raw. Out: the page, and audio beside it. Test sets are streamed into the page compressed, one
line of each file at a time; only the ids of utterances whose audio is copied are kept in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding
from zipperasr.report.html.compressed_rows import Block, inline_json, new_block
from zipperasr.report.html.page_settings import PageSettings
from zipperasr.report.html.recordings import SortedTable, copy_audio
from zipperasr.report.html.scores import cell, columns, repeated, score_dir, systems, way
from zipperasr.report.html.template import write_end, write_start
from zipperasr.report.html.utterances import read_audit
from zipperasr.report.html.word_times import WordTimes
from zipperasr.score.scores_table import SetScore


@dataclass
class _Page:
    """The page being written."""

    stream: TextIO
    raw: Path
    settings: PageSettings
    written: set[str] = field(default_factory=set)  # names of data blocks
    num_utts: int = 0
    worst: dict[str, dict[str, int]] = field(default_factory=dict)  # test set -> {id: errors}, for the audio
    notes: list[str] = field(default_factory=list)

    def write(self, block: Block) -> None:
        """End a block, and write it unless the page has it."""
        block.close()
        if block.name not in self.written:
            block.write_to(self.stream)
            self.written.add(block.name)

    def note(self, text: str) -> None:
        """Add a note to the page and to the log."""
        if text not in self.notes:
            self.notes.append(text)
            log(text)


def write_page(
    decodings: Sequence[Decoding], languages: LanguageTable, raw: Path, out: Path, settings: PageSettings
) -> int:
    """Write `out` and return its number of utterances. Raises OSError or ValueError if files of a score are missing."""
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as stream:
        page = _Page(stream, raw, settings)
        write_start(stream)
        ways = columns(decodings, languages)
        for (name, unit, normaliser), (_, _, other) in repeated(decodings).items():
            page.note(f"{name}: {unit.upper()} with {normaliser} is not shown; it is the same as with {other}")
        scores = [_row(page, decoding, list(ways)) for decoding in decodings]
        index = {"systems": systems(decodings), "columns": list(ways.values()), "scores": scores}
        audio = _audio(page, out)
        if settings.word_times:
            _add_words(page, decodings, scores, list(ways), audio)
        index |= {"audio": audio, "audio_dir": audio_dir(out).name, "notes": page.notes}
        write_end(stream, inline_json(index))
    return page.num_utts


def audio_dir(out: Path) -> Path:
    """Directory of the audio, beside the page."""
    return out.with_name(f"{out.stem}_audio")


def _row(page: _Page, decoding: Decoding, ways: Sequence[Any]) -> list[dict[str, Any] | None]:
    """Write a decoding's utterances; return its cells in the order of `ways`."""
    cells: list[dict[str, Any] | None] = [None] * len(ways)
    for score in decoding.scores:
        if way(score) not in ways:
            continue
        found = cell(decoding, score)
        if page.num_utts + score.utts <= page.settings.max_utts:
            found["blocks"] = _add_utterances(page, decoding, score)
        else:
            page.note(
                f"Scores only, from {decoding.model.title}, {score.set}: the page is limited to "
                f"{page.settings.max_utts:,} utterances; change --max_utts or select with --decoding"
            )
        cells[ways.index(way(score))] = found
    return cells


def _add_utterances(page: _Page, decoding: Decoding, score: SetScore) -> dict[str, Any]:
    """Write two blocks: what all systems share (references), and this system's hypotheses."""
    durations = _durations(page, score.set)
    worst: list[tuple[int, str]] = []
    flagged = False
    with new_block() as shared, new_block() as own:
        for utt in read_audit(score_dir(decoding, score) / "audit.jsonl"):
            duration_s = durations.number(utt.id) if durations else None
            shared.add([utt.id, utt.speaker, duration_s, utt.raw_reference, utt.reference, utt.repeat])
            own.add([utt.raw_hypothesis, utt.hypothesis, utt.operations, *([utt.flags] if utt.flags else [])])
            flagged |= utt.flags is not None
            _keep_worst(worst, (utt.num_errors, utt.id), page.settings.audio_utts)
        for block in (shared, own):
            page.write(block)
        page.num_utts += own.num_rows
        known = page.worst.setdefault(score.set, {})
        for errors, utt_id in worst:
            known[utt_id] = max(errors, known.get(utt_id, 0))
        return {"shared": shared.name, "own": own.name, "flagged": flagged}


def _keep_worst(heap: list[tuple[int, str]], item: tuple[int, str], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, item)
    elif heap and item > heap[0]:
        heapq.heapreplace(heap, item)


def _durations(page: _Page, name: str) -> SortedTable | None:
    path = page.raw / name / "utt2dur"
    if path.is_file():
        return SortedTable(path)
    page.note(f"No durations for {name}: {path} not found; stage 2 writes it")
    return None


def _audio(page: _Page, out: Path) -> dict[str, list[str]]:
    """{test set: ids whose audio is beside the page}."""
    copied: dict[str, list[str]] = {}
    if page.settings.audio == "none":
        page.note("No audio: the report was written with --audio none")
        return copied
    for name, errors in page.worst.items():
        wav_scp = page.raw / name / "wav.scp"
        if not wav_scp.is_file():
            page.note(f"No audio for {name}: {wav_scp} not found; stage 2 writes it")
            continue
        ids = heapq.nlargest(page.settings.audio_utts, errors, key=lambda utt: (errors[utt], utt))
        try:
            copy_audio(wav_scp, ids, audio_dir(out) / name)
            copied[name] = sorted(ids)
        except FileNotFoundError as error:  # arks may be deleted after decoding; a damaged one is an error
            page.note(f"No audio for {name}: {error}")
    return copied


def _add_words(
    page: _Page,
    decodings: Sequence[Decoding],
    scores: Sequence[list[dict[str, Any] | None]],
    ways: Sequence[Any],
    audio: dict[str, list[str]],
) -> None:
    """Write the words of each system that has an aligner, and name their blocks in its cells."""
    for decoding, cells in zip(decodings, scores, strict=True):
        if not audio or not WordTimes.are_wanted(decoding):
            continue
        try:
            times = WordTimes(decoding)
            for score in decoding.scores:
                shown = cells[ways.index(way(score))] if way(score) in ways else None
                if shown and "blocks" in shown and score.set in audio:
                    shown["blocks"]["words"] = _words_block(page, times, score, audio[score.set], decoding.model.title)
        except (ValueError, OSError) as error:  # the page is complete without them
            page.note(f"No word times for {decoding.model.title}: {error}")


def _words_block(page: _Page, times: WordTimes, score: SetScore, ids: Sequence[str], title: str) -> str:
    """Write a block of words and return its name."""
    rows = times.rows(score, page.raw / score.set / "wav.scp", ids)
    if missing := len(ids) - len(rows):
        page.note(
            f"{title}, {score.set}: {missing} of {len(ids)} utterances with audio have no word times: they have no "
            "words, too many for their duration, or got another text when they were decoded again"
        )
    with new_block() as block:
        for row in rows:
            block.add(row)
        page.write(block)
        return block.name
