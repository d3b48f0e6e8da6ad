"""Convert the audio of all data sets in shards (stage 2).

In: data directories of stage 1. Out: the chunks of every set at their final place, dump/raw/<set>/data, where each is
complete or absent; dump/raw.shards/K marks shard K as complete. Merging writes the tables, as `format_audio` does when
it resumes, and copies no audio.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, mark_current, scratch_directory
from zipperasr.audio.chunks import Chunks
from zipperasr.audio.convert import convert_chunk
from zipperasr.audio.format_audio import FormatOptions, begin_set, format_audio, is_done, require_espnet, set_inputs
from zipperasr.cli import log
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.shards import Balance, ShardDirs
from zipperasr.sole_writer import sole_writer


def convert_shard(data: Path, out: Path, options: FormatOptions, number: int, count: int) -> None:
    """Convert the chunks of shard `number`, unless this has been done."""
    if options.audio_format == "flac":
        require_espnet()
    todo, dirs = _divided(data, out, options, count)
    if dirs.is_complete(number):
        log(f"{dirs.path(number)} is up to date")
        return
    balance = Balance(count)
    with sole_writer(dirs.path(number)), tqdm(desc=f"audio, shard {number}", unit="utt") as progress:
        for row in todo:
            begin_set(out / row.set)
            with scratch_directory(out / row.set) as scratch:
                chunks = Chunks(data / row.set, out / row.set, options.audio_format, scratch)
                shards = balance.assign([sum(entry.duration_s for entry in chunk.entries) for chunk in chunks])
                for chunk, shard in zip(chunks, shards, strict=True):
                    if shard == number:
                        convert_chunk(chunk)
                        progress.update(len(chunk.entries))
        with atomic_path(dirs.path(number)) as temporary:
            temporary.mkdir()
            mark_current(temporary, dirs.inputs[number])


def missing_shards(data: Path, out: Path, options: FormatOptions, count: int) -> list[int]:
    """Return the numbers of the shards that are not complete; none if all sets are."""
    todo, dirs = _divided(data, out, options, count)
    return dirs.missing() if todo else []


def merge_shards(data: Path, out: Path, options: FormatOptions, count: int) -> None:
    """Write the tables of all sets. Raises ValueError if a shard is missing, and the errors of `format_audio`."""
    todo, dirs = _divided(data, out, options, count)
    if todo:
        with dirs.merged():
            format_audio(data, out, options)
    else:
        format_audio(data, out, options)


def _divided(data: Path, out: Path, options: FormatOptions, count: int) -> tuple[list[SetRow], ShardDirs]:
    """Return the sets that are not complete, and the shards."""
    inputs = {row: set_inputs(data / row.set, options) for row in read_sets(data / "sets.tsv")}
    todo = [row for row, of_set in inputs.items() if not is_done(out / row.set, of_set)]
    every = {row.set: of_set for row, of_set in inputs.items()}
    marks = {number: fingerprint(sets=every, shard=[number, count]) for number in range(1, count + 1)}
    return todo, ShardDirs(out, count, marks)
