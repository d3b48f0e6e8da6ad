"""NIST's sclite 2.10 (SCTK 1.3) for trn files: same options, same output; -h is the hypothesis, --help is help.

Files contain `words (speaker-utterance)` per line; a hypothesis without reference, a repeated id or a malformed line is
an error. Cases that are undefined in sclite are defined here: beside a word of more than 40 bytes, a gap has as many
asterisks as the word; a word wider than -l has a line of its own (sclite loops forever); -c DH deletes a word that
consists of hyphens (sclite crashes).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from zipperasr.cli import run_step
from zipperasr.score.sclite.ids import ID_TYPES
from zipperasr.score.sclite.options import Options, read_options, sclite_parser
from zipperasr.score.sclite.scoring import aligned
from zipperasr.score.sclite.system import System

SUFFIXES = {"sum": "sys", "rsum": "raw", "pralign": "pra", "dtl": "dtl"}
_WRITING = {
    "sum": "scoring report to ",
    "rsum": "raw scoring report to ",
    "pralign": "string alignments to ",
    "dtl": "overall detailed scoring report ",
    "spk": "speaker scoring report for ",
    "snt": "sentence scoring report for speaker ",
}


def score(options: Options) -> None:
    """Score every hypothesis file and write its reports."""
    _say(options, b"sclite: 2.10 TK Version 1.3\n")
    for hypotheses, title in options.systems:
        files = os.fsencode(options.reference), os.fsencode(hypotheses)
        _say(options, b"Begin alignment of Ref File: '%b' and Hyp File: '%b'\n" % files)
        system = System(os.fsencode(title), frozenset(options.reports), options.layout)
        try:
            _fill(system, hypotheses, options)
            for report in options.reports:
                _write(system, report, _root(hypotheses, options), options)
        finally:
            system.close()
    _say(options, b"\nSuccessful Completion\n")
    sys.stdout.buffer.flush()


def _fill(system: System, hypotheses: str, options: Options) -> None:
    last: bytes | None = None
    paths = aligned(Path(options.reference), Path(hypotheses), ID_TYPES[options.id_type], options.rules)
    for speaker, path in paths:
        system.add(speaker, path)
        if options.feedback:
            if last not in (None, speaker):
                _say(options, b"\n")
            last = speaker
            progress = system.counts[speaker].sentences, speaker
            _say(options, b"\r    Alignment# %d for speaker %b          " % progress)
    _say(options, b"\n\n")


def _write(system: System, report: str, root: str, options: Options) -> None:
    if report in ("spk", "snt"):
        for speaker in system.by_speaker():
            name = os.fsdecode(speaker.name)
            if "/" in name and not options.to_stdout:
                raise ValueError(
                    f"-o {report}: speaker {name!r} cannot be part of a file name because of its slash; add -o stdout"
                )
            path = f"{root}.{report}.{name}"
            destination = f"'{name}' to '{path}'"
            _emit(path, report, destination, options, lambda stream, s=speaker: system.write_speaker(report, s, stream))
    else:
        path = f"{root}.{SUFFIXES[report]}"
        destination = "'stdout'" if options.to_stdout else f"'{path}'"
        _emit(path, report, destination, options, lambda stream: system.write(report, stream))


def _emit(path: str, report: str, destination: str, options: Options, write: Callable[[BinaryIO], None]) -> None:
    if not options.to_stdout or report == "pralign":  # sclite announces this one in either case
        _say(options, os.fsencode(f"    Writing {_WRITING[report]}{destination}\n"))
    if options.to_stdout:
        write(sys.stdout.buffer)
    else:
        _write_file(Path(path), write)


def _write_file(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write to a temporary file and rename it, so that `path` is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _root(hypotheses: str, options: Options) -> str:
    """The path of the output files without suffix."""
    folder, slash, name = hypotheses.rpartition("/")
    name = options.out_name or name
    if options.out_dir is not None:
        return f"{options.out_dir}/{name}"
    return f"{folder}/{name}" if slash and folder != "." else name


def _say(options: Options, text: bytes) -> None:
    if options.feedback:
        sys.stdout.buffer.write(text)


def main(argv: Sequence[str] | None = None) -> int:
    given = sclite_parser(__doc__).parse_args(argv)
    return run_step(lambda _: score(read_options(given)), given, "sclite")


if __name__ == "__main__":
    sys.exit(main())
