"""NIST's sclite 2.10 (SCTK 1.3) for the trn form: same options, same output; -h is the hypothesis, --help is help.

Files hold `words (speaker-utterance)` per line; a hypothesis without reference, an id twice or a malformed line is an
error. Where sclite is undefined, this is not: next to a word of over 40 bytes a gap has as many asterisks as the word;
a word wider than -l stands alone (sclite does not end); -c DH drops a word of hyphens alone (sclite crashes).
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
    _tell(options, b"sclite: 2.10 TK Version 1.3\n")
    for hypotheses, title in options.systems:
        files = os.fsencode(options.reference), os.fsencode(hypotheses)
        _tell(options, b"Begin alignment of Ref File: '%b' and Hyp File: '%b'\n" % files)
        system = System(os.fsencode(title), frozenset(options.reports), options.layout)
        try:
            _fill(system, hypotheses, options)
            for report in options.reports:
                _write(system, report, _root(hypotheses, options), options)
        finally:
            system.close()
    _tell(options, b"\nSuccessful Completion\n")
    sys.stdout.buffer.flush()


def _fill(system: System, hypotheses: str, options: Options) -> None:
    last: bytes | None = None
    paths = aligned(Path(options.reference), Path(hypotheses), ID_TYPES[options.id_type], options.rules)
    for speaker, path in paths:
        system.add(speaker, path)
        if options.feedback:
            if last not in (None, speaker):
                _tell(options, b"\n")
            last = speaker
            progress = system.counts[speaker].sentences, speaker
            _tell(options, b"\r    Alignment# %d for speaker %b          " % progress)
    _tell(options, b"\n\n")


def _write(system: System, report: str, root: str, options: Options) -> None:
    if report in ("spk", "snt"):
        for speaker in system.by_speaker():
            name = os.fsdecode(speaker.name)
            if "/" in name and not options.to_stdout:
                raise ValueError(f"-o {report}: speaker {name!r} cannot name a file, for its slash; give -o stdout too")
            path = f"{root}.{report}.{name}"
            told = f"'{name}' to '{path}'"
            _emit(path, report, told, options, lambda stream, s=speaker: system.write_speaker(report, s, stream))
    else:
        path = f"{root}.{SUFFIXES[report]}"
        told = "'stdout'" if options.to_stdout else f"'{path}'"
        _emit(path, report, told, options, lambda stream: system.write(report, stream))


def _emit(path: str, report: str, told: str, options: Options, write: Callable[[BinaryIO], None]) -> None:
    if not options.to_stdout or report == "pralign":  # sclite tells of this one in either case
        _tell(options, os.fsencode(f"    Writing {_WRITING[report]}{told}\n"))
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
    """The output files' path before their suffix."""
    folder, slash, name = hypotheses.rpartition("/")
    name = options.out_name or name
    if options.out_dir is not None:
        return f"{options.out_dir}/{name}"
    return f"{folder}/{name}" if slash and folder != "." else name


def _tell(options: Options, text: bytes) -> None:
    if options.feedback:
        sys.stdout.buffer.write(text)


def main(argv: Sequence[str] | None = None) -> int:
    given = sclite_parser(__doc__).parse_args(argv)
    return run_step(lambda _: score(read_options(given)), given, "sclite")


if __name__ == "__main__":
    sys.exit(main())
