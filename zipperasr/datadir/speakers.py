"""Check utt2spk and spk2utt: utterance ids start with their speaker, and one table is the inverse of the other.

In: the two files. Out: the utterances with their speakers, in Arrow columns, or ValueError with file and line.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.datadir.arrow_blocks import Block
from zipperasr.datadir.column_values import RULES, check_values
from zipperasr.datadir.table_checks import REMEDY, checked, place


class Utterances(NamedTuple):
    """The contents of utt2spk, in its order."""

    ids: pa.LargeStringArray
    speakers: pa.ChunkedArray  # dictionary arrays, because speakers are repeated


def read_utt2spk(path: Path, speaker_order: bool) -> Utterances:
    """Read and check utt2spk. Raises ValueError; `speaker_order`: also if lines are not sorted by speaker."""
    ids, speakers, last = [], [], None
    for block in checked(path):
        check_values(block, path, RULES["utt2spk"])
        if speaker_order:
            last = _check_speaker_order(block, path, last)
        ids.append(block.keys)
        speakers.append(block.values.dictionary_encode())
    return Utterances(pa.concat_arrays(ids), pa.chunked_array(speakers))


def _check_speaker_order(block: Block, path: Path, last: bytes | None) -> bytes:
    """Check the order like `sort -k2 -C` in the C locale, blanks included. Returns the last line's sort key."""
    speakers = block.values
    first, final = (b" " + speakers[end].as_py().encode() for end in (0, -1))
    rises = pc.all(pc.less_equal(speakers[:-1], speakers[1:]), min_count=0).as_py()
    if block.plain and rises and (last is None or last <= first):
        return final
    for row, line in enumerate(block.data[:-1].split(b"\n")):
        key = block.keys[row].as_py().encode()
        rest = line[line.index(key) + len(key) :]
        if last is not None and rest < last:
            speaker, before = rest.decode().strip(" \t"), last.decode().strip(" \t")
            if speaker >= before:
                problem = f"the whitespace before speaker {speaker!r} differs from that of other lines; use one space"
            else:
                problem = (
                    f"speaker {speaker!r} comes after {before!r}; begin utterance ids with the speaker and a hyphen"
                )
            raise ValueError(f"{place(block, row, path)}: {problem}")
        last = rest
    return last


def check_spk2utt(path: Path, utterances: Utterances) -> pa.LargeStringArray:
    """Return the speakers. Raises ValueError unless the lines are the inverse of utt2spk."""
    done, found = 0, []
    for block in checked(path):
        check_values(block, path, RULES["spk2utt"])
        words = pc.split_pattern(block.values, " ") if block.plain else pc.split_pattern_regex(block.values, "[ \t]+")
        ids = words.flatten()
        same = ids.equals(utterances.ids.slice(done, len(ids)))
        if not same or not _speakers_equal(block.keys, words, utterances.speakers.slice(done, len(ids))):
            raise ValueError(_not_inverse(path, block, words, utterances, done))
        done += len(ids)
        found.append(block.keys)
    if done < len(utterances.ids):
        raise ValueError(
            f"{path}: is not the inverse of utt2spk: it lacks id {utterances.ids[done].as_py()!r}; {REMEDY}"
        )
    return pa.concat_arrays(found)


def _speakers_equal(keys: pa.LargeStringArray, words: pa.Array, wanted: pa.ChunkedArray) -> bool:
    """Return True if each word's key is its speaker. Compares indices, because keys may be very long."""
    rows, done = pc.list_parent_indices(words), 0
    for chunk in wanted.chunks:
        row_of_speaker = pc.index_in(chunk.dictionary.cast(pa.large_string()), value_set=keys)
        found = row_of_speaker.take(chunk.indices).cast(rows.type)
        if not found.equals(rows.slice(done, len(chunk))):
            return False
        done += len(chunk)
    return done == len(rows)


def _not_inverse(path: Path, block: Block, words: pa.Array, utterances: Utterances, done: int) -> str:
    """Return an error message with the first wrong line of spk2utt."""
    for row, (speaker, ids) in enumerate(zip(block.keys.to_pylist(), words.to_pylist(), strict=True)):
        wanted = utterances.ids.slice(done, len(ids)).to_pylist()
        where = f"line {block.first_line + row} (id {speaker!r})"
        if ids != wanted or set(utterances.speakers.slice(done, len(ids)).to_pylist()) != {speaker}:
            break
        done += len(ids)
    return f"{path}: is not the inverse of utt2spk: {where} differs; {REMEDY}"
