"""Align a hypothesis file with a reference file.

In: two trn files. Out: (speaker, path) per hypothesis, in the file's order. Utterances are processed in chunks: plain
ones are aligned together, those with alternations and the like one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path as FilePath

from zipperasr.score.sclite.align import align_all
from zipperasr.score.sclite.network import arcs_of
from zipperasr.score.sclite.network_align import align_networks
from zipperasr.score.sclite.path import Path
from zipperasr.score.sclite.trn import Line, References, read_trn
from zipperasr.score.sclite.words import WordRules

CHUNK = 1000


def aligned(
    references: FilePath, hypotheses: FilePath, speaker_of: Callable[[bytes], bytes], rules: WordRules
) -> Iterator[tuple[bytes, Path]]:
    """Score each utterance of `hypotheses`. Raises ValueError if a line is malformed or its id has no reference."""
    index = References(references, rules)
    try:
        lines = read_trn(hypotheses, rules)
        found = False
        while chunk := list(islice(lines, CHUNK)):
            found = True
            pairs = [(index.take(line, hypotheses), line) for line in chunk]
            for (_, line), path in zip(pairs, _paths(pairs, rules), strict=True):
                yield _speaker(line, speaker_of, hypotheses), path
        if not found:
            raise ValueError(f"{hypotheses}: no utterance; wanted lines of the form: words (speaker-utterance)")
    finally:
        index.close()


def _speaker(line: Line, speaker_of: Callable[[bytes], bytes], hypotheses: FilePath) -> bytes:
    try:
        return speaker_of(line.id)
    except ValueError as error:
        raise ValueError(f"{hypotheses}:{line.number}: {error}") from error


def _paths(pairs: list[tuple[bytes, Line]], rules: WordRules) -> list[Path]:
    paths: list[Path | None] = [None] * len(pairs)
    plain = []
    for position, (reference, line) in enumerate(pairs):
        if rules.is_plain(reference) and rules.is_plain(line.text):
            plain.append((position, rules.split(reference), rules.split(line.text)))
        else:
            networks = arcs_of(reference, rules), arcs_of(line.text, rules)
            paths[position] = Path(line.id, *align_networks(*networks), identical=False)
    operations = align_all([(reference, hypothesis) for _, reference, hypothesis in plain])
    for (position, reference, hypothesis), ops in zip(plain, operations, strict=True):
        paths[position] = Path(pairs[position][1].id, reference, hypothesis, ops)
    return paths
