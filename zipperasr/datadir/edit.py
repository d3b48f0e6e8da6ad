"""Edit Kaldi data directories: fix, combine, subset, split, called like Kaldi's own scripts.

In: directories with utt2spk and any of text, utt2lang, utt2dur, utt2repeat, utt2num_samples, segments, wav.scp. Out:
directories with consistent tables in C order and a new spk2utt. Audio is not changed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.datadir.column_values import RULES
from zipperasr.datadir.memory_tables import BY_UTTERANCE, DataDir, Table
from zipperasr.datadir.sampling import kaldi_subset
from zipperasr.text_lines import numbered_lines

COMMANDS = {  # name: (script in utils/, what it does)
    "fix": (
        "fix_data_dir",
        "Keep the utterances that all tables have, sort the tables, rebuild spk2utt; old tables are moved to .backup.",
    ),
    "combine": (
        "combine_data",
        "Combine several data directories into one. Tables that some of them lack are left out, with a log line.",
    ),
    "subset": (
        "subset_data_dir",
        "Copy COUNT utterances of a data directory, or those of a list, to another directory.",
    ),
    "split": ("split_data", "Split DIR into DIR/splitN/1 ... N of about equal size; speakers stay whole."),
}
SELECTIONS = {
    "first": "take the first COUNT utterances",
    "last": "take the last COUNT utterances",
    "shortest": "take the COUNT shortest utterances",
    "speakers": "take whole speakers, until COUNT utterances are reached",
    "per_spk": "take COUNT utterances of each speaker",
}


def fix(directory: Path) -> None:
    """Keep the utterances that all tables have, sort the tables, rebuild spk2utt; old tables are moved to .backup."""
    backup = directory / ".backup"
    names = [name for name in (*BY_UTTERANCE, "wav.scp", "spk2utt") if (directory / name).is_file()]
    loose = DataDir({name: _loose_table(directory / name) for name in names if name != "spk2utt"})
    if "utt2spk" not in loose.tables:
        raise FileNotFoundError(f"{directory / 'utt2spk'}: no such file; a data directory needs one")
    kept = loose.select(loose.complete())
    backup.mkdir(exist_ok=True)
    for name in names:
        shutil.copy2(directory / name, backup / name)
    kept.write(directory)
    log(f"{directory}: kept {len(kept.utts)} of {len(loose.utts)} utterances; the old tables are in {backup}")


def combine(target: Path, sources: Sequence[Path]) -> None:
    """Combine several directories into one. Tables that some of them lack are left out, with a log line."""
    parts = [DataDir.read(source) for source in sources]
    if any("segments" in part.tables for part in parts):
        parts = [part.with_segments(source) for part, source in zip(parts, sources, strict=True)]
    shared = set.intersection(*(set(part.tables) for part in parts))
    lost = sorted({name for part in parts for name in part.tables} - shared)
    if lost:
        log(f"{target}: not in all directories, left out: {', '.join(lost)}")
    tables: dict[str, Table] = {name: {} for name in parts[0].tables if name in shared}
    for part, source in zip(parts, sources, strict=True):
        for name, table in tables.items():
            for key, value in part.tables[name].items():
                if key in table and (name != "wav.scp" or table[key] != value):  # directories may share a recording
                    raise ValueError(f"{source / name}: id {key!r} is also in an earlier directory; ids must differ")
            table.update(part.tables[name])
    DataDir(tables).write(target)
    log(f"{target}: {len(tables['utt2spk'])} utterances of {len(sources)} directories")


def subset(source: Path, target: Path, utts: Sequence[str]) -> None:
    """Copy some utterances of a directory to another directory."""
    data = DataDir.read(source)
    unknown = [utt for utt in utts if utt not in data.tables["utt2spk"]]
    if unknown:
        log(f"{source}: {len(unknown)} of {len(utts)} wanted utterances are not in it (first: {unknown[0]!r})")
    data.select(set(utts) - set(unknown)).write(target)
    log(f"{target}: {len(utts) - len(unknown)} of {len(data.utts)} utterances of {source}")


def split(directory: Path, num_parts: int, per_utt: bool) -> None:
    """Split DIR into DIR/splitN[utt]/1 ... N of about equal size; speakers stay whole unless `per_utt`."""
    data = DataDir.read(directory)
    groups = [[utt] for utt in data.utts] if per_utt else list(data.by_speaker.values())
    if num_parts < 1:
        raise ValueError(f"{directory}: got {num_parts} parts, wanted at least 1")
    if len(groups) < num_parts:
        what = "utterances" if per_utt else "speakers (--per_utt splits them)"
        raise ValueError(f"{directory}: got {len(groups)} {what}, wanted at least {num_parts}")
    parts = _in_parts(groups, num_parts)
    for number, utts in enumerate(parts, 1):
        data.select(utts).write(directory / f"split{num_parts}{'utt' if per_utt else ''}" / str(number))
    sizes = [len(utts) for utts in parts]
    log(f"{directory}: {sum(sizes)} utterances in {num_parts} parts of {min(sizes)} to {max(sizes)}")


def _in_parts(groups: Sequence[Sequence[str]], num_parts: int) -> list[list[str]]:
    """Divide neighbouring groups into parts of about equal size, none of them empty."""
    total, done, start, parts = sum(map(len, groups)), 0, 0, []
    for number in range(1, num_parts + 1):
        last = len(groups) - (num_parts - number)  # leaves one for each part after this one
        stop = start
        while stop < last and (stop == start or done + len(groups[stop]) / 2 <= total * number / num_parts):
            done += len(groups[stop])
            stop += 1
        parts.append([utt for group in groups[start:stop] for utt in group])
        start = stop
    return parts


def _loose_table(path: Path) -> Table:
    """Read lines in any order; drop repeated keys, lines without a value and durations that are not numbers."""
    table: Table = {}
    for _, line in numbered_lines(path):
        key, *rest = line.split()
        value = " ".join(rest)
        if rest and (path.name != "utt2dur" or RULES["utt2dur"].accepts(value)):
            table.setdefault(key, value)
    return table


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    commands = options.add_subparsers(dest="command", required=True)
    parsers = {
        name: commands.add_parser(
            name, prog=f"utils/{script}", description=description, formatter_class=options.formatter_class
        )
        for name, (script, description) in COMMANDS.items()
    }
    parsers["fix"].add_argument("directory", type=Path, metavar="DIR", help="data directory to fix in place")
    parsers["combine"].add_argument("target", type=Path, metavar="TARGET", help="new data directory")
    parsers["combine"].add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="directories to combine")
    _add_subset_options(parsers["subset"])
    parsers["split"].add_argument("--per_utt", action="store_true", help="split speakers too, into DIR/splitNutt")
    parsers["split"].add_argument("directory", type=Path, metavar="DIR", help="data directory to split")
    parsers["split"].add_argument("num_parts", type=int, metavar="N", help="number of parts")
    given = options.parse_args(argv)
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "fix": lambda given: fix(given.directory),
        "combine": lambda given: combine(given.target, given.sources),
        "subset": lambda given: _subset(given.source, given.rest, given.how, given.utt_list, given.spk_list),
        "split": lambda given: split(given.directory, given.num_parts, given.per_utt),
    }
    return run_step(steps[given.command], given, COMMANDS[given.command][0])


def _add_subset_options(options: argparse.ArgumentParser) -> None:
    options.usage = (
        f"%(prog)s [{' | '.join(f'--{name}' for name in SELECTIONS)}] SOURCE COUNT TARGET\n"
        "       %(prog)s (--utt_list FILE | --spk_list FILE) SOURCE TARGET"
    )
    how = options.add_mutually_exclusive_group()
    for name, meaning in SELECTIONS.items():
        how.add_argument(f"--{name}", dest="how", action="store_const", const=name, help=meaning)
    for name, ids in (("utt_list", "utterance"), ("spk_list", "speaker")):
        how.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"take the {ids} ids in this file, one per line")
    options.add_argument("source", type=Path, metavar="SOURCE", help="data directory to select from")
    options.add_argument("rest", nargs="+", metavar="[COUNT] TARGET", help="number of utterances; new data directory")


def _subset(source: Path, rest: list[str], how: str | None, utt_list: Path | None, spk_list: Path | None) -> None:
    """Check and follow the arguments of `subset`: rest is `TARGET` with a list, `COUNT TARGET` without."""
    listed = utt_list or spk_list
    if len(rest) != (1 if listed else 2) or not (listed or rest[0].isdigit()):
        raise ValueError(f"got {' '.join(rest)!r}, wanted {'TARGET' if listed else 'COUNT TARGET'}")
    data = DataDir.read(source)
    ids = [line.split()[0] for _, line in numbered_lines(listed)] if listed else []
    if utt_list:
        utts = ids
    elif spk_list:
        utts = [utt for speaker in ids for utt in data.by_speaker.get(speaker, [])]
    else:
        utts = kaldi_subset(data, how or "spread", int(rest[0]))
    subset(source, Path(rest[-1]), utts)


if __name__ == "__main__":
    sys.exit(main())
