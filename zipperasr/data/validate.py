"""Check a Kaldi data directory as Kaldi's own script does, and utt2lang, utt2dur, utt2repeat besides.

In: a directory. Out: nothing, or ValueError with file, line and remedy. Tables are read once; audio is not.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable
from itertools import islice
from math import inf
from operator import lt
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.corpora.utterance import numbered_lines

REMEDY = "rerun the stage that wrote it"
OTHER_BLANK = re.compile(r"[^\S ]")  # any but the space
OTHER_BLANKS = [ch for ch in map(chr, range(0x3001)) if OTHER_BLANK.match(ch) and ch != "\n"]  # U+3000 is the last
PER_UTTERANCE = ("text", "utt2lang", "utt2dur", "utt2repeat", "utt2num_samples")


def validate_data_dir(directory: str | Path, need_audio: bool = True, need_text: bool = True) -> int:
    """Return the number of utterances. Raises ValueError on the first flaw."""
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory}: no such directory; {REMEDY}")
    utt2spk = _table(directory / "utt2spk", 1)
    _check_speakers(directory, utt2spk)
    if need_text and not (directory / "text").is_file():
        raise ValueError(f"{directory / 'text'}: no such file; {REMEDY}")
    for name in PER_UTTERANCE:
        if (directory / name).is_file():
            table = _table(directory / name, None if name == "text" else 1)
            _check_same_keys(utt2spk, table, directory / name)
            if name in ("utt2dur", "utt2repeat", "utt2num_samples"):
                _check_numbers(table, directory / name)
    if need_audio:
        _check_audio(directory, utt2spk)
    return len(utt2spk)


def _table(path: Path, num_values: int | None) -> dict[str, str]:
    """Key -> rest of the line; sorted in C order, each key once, `num_values` values (None: one or more)."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {REMEDY}")
    table = _flawless_table(path, num_values)
    return table if table is not None else _table_by_lines(path, num_values)


def _flawless_table(path: Path, num_values: int | None) -> dict[str, str] | None:
    """The table at once, five times as fast as by lines; None where there is something to look at more closely."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    text = f"\n{text.removesuffix(chr(10))}\n"
    if text[1] == "\ufeff" or _holds_any(text, ("\n\n", "  ", "\n ", " \n")) or _holds_any(text, OTHER_BLANKS):
        return None
    lines = text[1:-1].split("\n")
    if num_values == 1 and text.count(" ") != len(lines):  # each line has one: its value is not empty
        return None
    if num_values not in (None, 1) and any(line.count(" ") != num_values for line in lines):
        return None
    table = dict(line.partition(" ")[::2] for line in lines)
    in_order = all(map(lt, table, islice(table, 1, None)))  # code point order is the C order of UTF-8
    return table if len(table) == len(lines) and in_order and all(table.values()) else None


def _holds_any(text: str, parts: Iterable[str]) -> bool:
    return any(part in text for part in parts)


def _table_by_lines(path: Path, num_values: int | None) -> dict[str, str]:
    """As `_table`, naming the first line that is wrong."""
    table: dict[str, str] = {}
    last = ""
    for number, line in numbered_lines(path):
        cells = line.split(" ")
        key, where = cells[0], f"{path}:{number}"
        if len(cells) < 2 or not all(cells):
            raise ValueError(f"{where}: got {line[:60]!r}, wanted `key value` with single blanks; {REMEDY}")
        if num_values is not None and len(cells) != num_values + 1:
            raise ValueError(f"{where}: id {key!r}: got {len(cells) - 1} values, wanted {num_values}; {REMEDY}")
        if OTHER_BLANK.search(line):
            raise ValueError(f"{where}: id {key!r}: a blank other than a space in the line; {REMEDY}")
        if key <= last:  # code point order is the C order of UTF-8
            problem = "comes twice" if key == last else f"comes after {last!r}, not in C order"
            raise ValueError(f"{where}: id {key!r} {problem}; sort with LC_ALL=C and {REMEDY}")
        table[key] = line[len(key) + 1 :]
        last = key
    if not table:
        raise ValueError(f"{path}: the file is empty; {REMEDY}")
    return table


def _check_same_keys(wanted: dict[str, str], got: dict[str, str], path: Path) -> None:
    if wanted.keys() == got.keys():
        return
    lacking = next((key for key in wanted if key not in got), None)
    if lacking is not None:
        raise ValueError(f"{path}: id {lacking!r} of utt2spk is not in it; {REMEDY}")
    extra = next((key for key in got if key not in wanted), None)
    if extra is not None:
        raise ValueError(f"{path}: id {extra!r} is not in utt2spk; {REMEDY}")


def _check_speakers(directory: Path, utt2spk: dict[str, str]) -> None:
    by_speaker: dict[str, list[str]] = {}
    last = ""
    for utt, speaker in utt2spk.items():
        if speaker < last:
            raise ValueError(
                f"{directory / 'utt2spk'}: id {utt!r}: speaker {speaker!r} comes after {last!r}; begin utterance ids "
                f"with the speaker and a hyphen"
            )
        by_speaker.setdefault(speaker, []).append(utt)
        last = speaker
    listed = _table(directory / "spk2utt", None)
    if {speaker: " ".join(utts) for speaker, utts in by_speaker.items()} != listed:
        raise ValueError(f"{directory / 'spk2utt'}: is not the inverse of utt2spk; {REMEDY}")


def _check_numbers(table: dict[str, str], path: Path) -> None:
    number, least = (float, 0) if path.name == "utt2dur" else (int, 1)
    with contextlib.suppress(ValueError):
        if all(least <= value < inf for value in map(number, table.values())):
            return
    for key, value in table.items():
        try:
            ok = least <= number(value) < inf
        except ValueError:
            ok = False
        if not ok:
            raise ValueError(f"{path}: id {key!r}: got {value!r}, wanted a number that counts; {REMEDY}")


def _check_audio(directory: Path, utt2spk: dict[str, str]) -> None:
    recordings = _table(directory / "wav.scp", None)
    if not (directory / "segments").is_file():
        _check_same_keys(utt2spk, recordings, directory / "wav.scp")
        return
    segments = _table(directory / "segments", 3)
    _check_same_keys(utt2spk, segments, directory / "segments")
    for utt, value in segments.items():
        recording, start, end = value.split(" ")
        where = f"{directory / 'segments'}: id {utt!r}"
        if recording not in recordings:
            raise ValueError(f"{where}: recording {recording!r} is not in wav.scp; {REMEDY}")
        try:
            ok = 0 <= float(start) < float(end)
        except ValueError:
            ok = False
        if not ok:
            raise ValueError(f"{where}: got start {start}, end {end}, wanted 0 <= start < end; {REMEDY}")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("directories", nargs="+", help="data directories")
    options.add_argument("--no_wav", action="store_true", help="no wav.scp is needed")
    options.add_argument("--no_text", action="store_true", help="no text is needed")
    options.add_argument("--no_feats", action="store_true", help="accepted as Kaldi's script does; feats are not read")

    def step(given) -> None:
        for directory in given.directories:
            count = validate_data_dir(directory, need_audio=not given.no_wav, need_text=not given.no_text)
            log(f"{directory}: a valid data directory of {count} utterances")

    return run_step(step, options.parse_args(argv), "validate_data_dir")


if __name__ == "__main__":
    sys.exit(main())
