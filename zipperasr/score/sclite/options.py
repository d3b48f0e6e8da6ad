"""sclite's command line.

In: arguments. Out: `Options`. Options of sclite that are not supported here are errors, not ignored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from zipperasr.cli import nearest, parser
from zipperasr.score.sclite.alignments import LEAST_LINE_WIDTH, LINE_WIDTH
from zipperasr.score.sclite.ids import ID_TYPES
from zipperasr.score.sclite.system import REPORTS, Layout
from zipperasr.score.sclite.words import WordRules

ABSENT_OPTIONS = ("-C", "-L", "-P", "-S", "-T", "-d", "-m", "-p", "-w")
ABSENT_REPORTS = ("lur", "nl.sgml", "prf", "sgml", "wws")
ABSENT_FORMATS = ("ctm", "stm", "tmk", "txt")
ABSENT = "is not supported here; use NIST's sclite (tools/install_sctk.sh)"
_SEVERAL = {"all": ("sum", "rsum", "pralign"), "pra": ("pralign",)}


@dataclass(frozen=True)
class Options:
    """`systems`: pairs of hypothesis file and title; `reports`: in the order in which they are written."""

    reference: str
    systems: list[tuple[str, str]]
    id_type: str
    rules: WordRules
    layout: Layout
    reports: list[str]
    to_stdout: bool
    feedback: bool
    out_dir: str | None
    out_name: str | None


def sclite_parser(doc: str | None) -> argparse.ArgumentParser:
    """Parser of sclite's options; since `-h` names a hypothesis, help is `--help` only."""
    options = parser(doc, conflict_handler="resolve")
    add = options.add_argument
    add("-r", nargs="+", metavar=("REF", "trn"), help="reference file in trn format")
    add("-h", nargs="+", action="append", metavar=("HYP", "trn TITLE"), help="hypothesis file; can be repeated")
    add("-i", metavar="TYPE", help=f"type of utterance ids: {', '.join(ID_TYPES)}")
    add("-e", nargs="+", metavar=("utf-8", "generic"), help="characters are UTF-8 (for -c); default: bytes")
    add("-s", action="store_true", help="case-sensitive words and ids")
    add("-c", nargs="*", metavar="NOASCII DH", help="align characters; NOASCII keeps ASCII words, DH deletes hyphens")
    add("-F", action="store_true", help="a fragment, x- or -x, is correct if its counterpart starts or ends with x")
    add("-D", action="store_true", help="an optional word, (x), may be left out")
    add("-o", nargs="*", action="extend", metavar="REPORT", help=f"{', '.join(REPORTS)}, all, none, stdout")
    add("-O", metavar="DIR", help="directory of the output files; default: the hypothesis file's")
    add("-n", metavar="NAME", help="name of the output files without suffix; default: the hypothesis file's")
    add("-l", type=int, default=LINE_WIDTH, metavar="WIDTH", help="wrap alignments at this width")
    add("-f", type=int, metavar="LEVEL", help="0: print reports only; 1: also progress; default: 1 unless -o stdout")
    for absent in ABSENT_OPTIONS:
        add(absent, nargs="*", dest=f"absent_{absent[1:]}", help=argparse.SUPPRESS)
    return options


def read_options(given: argparse.Namespace) -> Options:
    """Check the options. Raises ValueError with the option and a remedy."""
    for absent in ABSENT_OPTIONS:
        if getattr(given, f"absent_{absent[1:]}") is not None:
            raise ValueError(f"{absent} {ABSENT}")
    if not given.r or not given.h:
        raise ValueError("wanted a reference and a hypothesis; pass -r ref.trn trn -h hyp.trn trn")
    if given.i is None:
        raise ValueError(f"no type of utterance ids; pass -i with one of {', '.join(ID_TYPES)}")
    if given.i not in ID_TYPES:
        raise ValueError(f"-i: unknown type {given.i!r}; {nearest(given.i, list(ID_TYPES))}")
    if given.l < LEAST_LINE_WIDTH:
        raise ValueError(f"-l: got {given.l}, wanted at least {LEAST_LINE_WIDTH}")
    if given.f not in (None, 0, 1):
        raise ValueError(f"-f {given.f} {ABSENT}")
    reports, to_stdout = _reports(given.o)
    return Options(
        reference=_file("-r", given.r, most=2)[0],
        systems=[_file("-h", system, most=3) for system in given.h],
        id_type=given.i,
        rules=_word_rules(given),
        layout=Layout(given.l, fold_case=not given.s, characters=given.c is not None),
        reports=reports,
        to_stdout=to_stdout,
        feedback=not (given.o is not None and to_stdout) if given.f is None else bool(given.f),
        out_dir=given.O,
        out_name=given.n,
    )


def _file(option: str, values: Sequence[str], most: int) -> tuple[str, str]:
    """(file, title) of `FILE [FORMAT [TITLE]]`."""
    if len(values) > most:
        raise ValueError(f"{option}: got {len(values)} values, {' '.join(values)!r}, wanted at most {most}")
    form = values[1] if len(values) > 1 else "trn"
    if form in ABSENT_FORMATS:
        raise ValueError(f"{option}: the format {form} {ABSENT}")
    if form != "trn":
        raise ValueError(f"{option}: unknown format {form!r}, wanted trn; a title comes after the format")
    return values[0], values[2] if len(values) > 2 else values[0]


def _word_rules(given: argparse.Namespace) -> WordRules:
    flags = given.c or []
    for flag in flags:
        if flag not in ("NOASCII", "DH"):
            raise ValueError(f"-c: unknown value {flag!r}; {nearest(flag, ['NOASCII', 'DH'])}")
    encoding, *profile = [value.lower() for value in given.e or ["ascii"]]
    if encoding not in ("utf-8", "ascii") or profile not in ([], ["generic"]):
        raise ValueError(f"-e {' '.join(given.e)} {ABSENT}")
    return WordRules(
        fold_case=not given.s,
        characters=given.c is not None,
        keep_ascii="NOASCII" in flags,
        drop_hyphens="DH" in flags,
        utf8=encoding == "utf-8",
        fragments=given.F,
        optional=given.D,
    )


def _reports(names: Sequence[str] | None) -> tuple[list[str], bool]:
    """(reports, whether to print them); as in sclite, naming a report twice switches it off again."""
    chosen: set[str] = set()
    for name in ["sum", "stdout"] if names is None else names:
        if name in ABSENT_REPORTS:
            raise ValueError(f"-o {name} {ABSENT}")
        if name == "none":
            chosen.clear()
        elif name in (*_SEVERAL, *REPORTS, "stdout"):
            chosen ^= set(_SEVERAL.get(name, (name,)))
        else:
            raise ValueError(f"-o: unknown report {name!r}; {nearest(name, [*REPORTS, *_SEVERAL, 'none', 'stdout'])}")
    return [report for report in REPORTS if report in chosen], "stdout" in chosen
