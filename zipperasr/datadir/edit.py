"""Edit Kaldi data directories: fix, combine, subset, split, with the calling forms of Kaldi's own scripts.

In: directories with utt2spk and any of text, utt2lang, utt2dur, utt2repeat, utt2num_samples, segments, wav.scp. Out:
directories whose tables agree, in C order; spk2utt is made anew. Audio is not touched.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.corpora.utterance import numbered_lines
from zipperasr.datadir.column_values import RULES
from zipperasr.datadir.memory_tables import BY_UTTERANCE, DataDir, Table
from zipperasr.prepare.utterance_lists import hash_of


def fix(directory: Path) -> None:
    """Keep the utterances that all tables have, sort, make spk2utt anew; the old tables go to .backup."""
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
    """One directory of several. Tables that not all have are left out, and said."""
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
                if key in table and (name != "wav.scp" or table[key] != value):  # one recording may serve both
                    raise ValueError(f"{source / name}: id {key!r} is in a directory before it too; ids must differ")
            table.update(part.tables[name])
    DataDir(tables).write(target)
    log(f"{target}: {len(tables['utt2spk'])} utterances of {len(sources)} directories")


def subset(source: Path, target: Path, utts: Sequence[str]) -> None:
    """A directory of some utterances of another."""
    data = DataDir.read(source)
    unknown = [utt for utt in utts if utt not in data.tables["utt2spk"]]
    if unknown:
        log(f"{source}: {len(unknown)} of {len(utts)} wanted utterances are not in it (first: {unknown[0]!r})")
    data.select(set(utts) - set(unknown)).write(target)
    log(f"{target}: {len(utts) - len(unknown)} of {len(data.utts)} utterances of {source}")


def chosen(data: DataDir, how: str, count: int) -> list[str]:
    """`count` utterances as Kaldi's subset_data_dir.sh chooses: spread, first, last, shortest, speakers, per_spk."""
    utts = data.utts
    if how == "per_spk":
        return [utt for mine in data.by_speaker.values() for utt in _spread(mine, min(count, len(mine)))]
    if count > len(utts):
        raise ValueError(f"got {count} utterances to take, wanted at most the {len(utts)} that there are")
    if how == "speakers":  # whole speakers, until there are enough
        taken: list[str] = []
        speakers = sorted(data.by_speaker, key=lambda speaker: hash_of(speaker, seed=0))
        while len(taken) < count:
            taken += data.by_speaker[speakers.pop()]
        return taken
    if how == "shortest":
        if "utt2dur" not in data.tables:
            raise ValueError("--shortest needs utt2dur")
        return sorted(utts, key=lambda utt: (float(data.tables["utt2dur"][utt]), utt))[:count]
    return {"first": utts[:count], "last": utts[len(utts) - count :]}.get(how) or _spread(utts, count)


def split(directory: Path, num_parts: int, per_utt: bool) -> None:
    """DIR/splitN[utt]/1 ... N of about equal size; whole speakers unless `per_utt`."""
    data = DataDir.read(directory)
    groups = [[utt] for utt in data.utts] if per_utt else list(data.by_speaker.values())
    if num_parts < 1:
        raise ValueError(f"{directory}: got {num_parts} parts, wanted at least 1")
    if len(groups) < num_parts:
        what = "utterances" if per_utt else "speakers (--per-utt splits them)"
        raise ValueError(f"{directory}: got {len(groups)} {what}, wanted at least {num_parts}")
    parts = _in_parts(groups, num_parts)
    for number, utts in enumerate(parts, 1):
        data.select(utts).write(directory / f"split{num_parts}{'utt' if per_utt else ''}" / str(number))
    sizes = [len(utts) for utts in parts]
    log(f"{directory}: {sum(sizes)} utterances in {num_parts} parts of {min(sizes)} to {max(sizes)}")


def _in_parts(groups: Sequence[Sequence[str]], num_parts: int) -> list[list[str]]:
    """Neighbouring groups together, in parts of about equal size, none of them empty."""
    total, done, start, parts = sum(map(len, groups)), 0, 0, []
    for number in range(1, num_parts + 1):
        last = len(groups) - (num_parts - number)  # one for each part to come
        stop = start
        while stop < last and (stop == start or done + len(groups[stop]) / 2 <= total * number / num_parts):
            done += len(groups[stop])
            stop += 1
        parts.append([utt for group in groups[start:stop] for utt in group])
        start = stop
    return parts


def _spread(items: Sequence[str], count: int) -> list[str]:
    """`count` of them, evenly spread."""
    return [items[number * len(items) // count] for number in range(count)]


def _loose_table(path: Path) -> Table:
    """Lines in any order; those without a value, durations that are none, and a second line of a key are dropped."""
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
    one = commands.add_parser("fix", description=fix.__doc__)
    one.add_argument("directory", type=Path)
    one = commands.add_parser("combine", description=combine.__doc__)
    one.add_argument("target", type=Path)
    one.add_argument("sources", type=Path, nargs="+")
    one = commands.add_parser("subset", description=subset.__doc__)
    how = one.add_mutually_exclusive_group()
    for name in ("first", "last", "shortest", "speakers", "per_spk"):
        how.add_argument(f"--{name}", dest="how", action="store_const", const=name)
    for name in ("utt_list", "spk_list"):
        how.add_argument(f"--{name}", type=Path, metavar="FILE", help="ids, one a line")
    one.add_argument("source", type=Path)
    one.add_argument("rest", nargs="+", metavar="[COUNT] TARGET", help="COUNT but with a list")
    one = commands.add_parser("split", description=split.__doc__)
    one.add_argument("--per_utt", action="store_true", help="speakers may be split")
    one.add_argument("directory", type=Path)
    one.add_argument("num_parts", type=int)
    chosen_options = options.parse_args(argv)
    return run_step(_run, chosen_options, f"{chosen_options.command} data dir")


def _run(options: argparse.Namespace) -> None:
    if options.command == "fix":
        fix(options.directory)
    elif options.command == "combine":
        combine(options.target, options.sources)
    elif options.command == "split":
        split(options.directory, options.num_parts, options.per_utt)
    else:
        subset(options.source, *_subset_arguments(options))


def _subset_arguments(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """(target, utterances)."""
    listed = options.utt_list or options.spk_list
    if len(options.rest) != (1 if listed else 2) or not (listed or options.rest[0].isdigit()):
        raise ValueError(f"got {' '.join(options.rest)!r}, wanted {'TARGET' if listed else 'COUNT TARGET'}")
    data, target = DataDir.read(options.source), Path(options.rest[-1])
    if not listed:
        return target, chosen(data, options.how or "spread", int(options.rest[0]))
    ids = [line.split()[0] for _, line in numbered_lines(listed)]
    if options.utt_list:
        return target, ids
    return target, [utt for speaker in ids for utt in data.by_speaker.get(speaker, [])]


if __name__ == "__main__":
    sys.exit(main())
