"""Stage 2: every data set's audio becomes 16 kHz mono, cut into utterances.

In: data/ of stage 1, any codec, rate and channels. Out: dump/raw/<set>/ with flac in arks (or a file each), exact
durations, and quarantine.tsv / filtered.tsv naming what was left out and why. Chunks of a set are written by --nj
processes; a finished chunk or set is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import FINGERPRINT, atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log, parser, run_step
from zipperasr.data.audio import SAMPLE_RATE
from zipperasr.data.convert import AUDIO_FORMATS, Chunk, ChunkResult, convert_chunk
from zipperasr.data.datadir import Entry, read_data_dir, read_table, tables_of, write_lines
from zipperasr.data.sets import SetRow, read_sets, write_sets
from zipperasr.data.validate import validate_data_dir

MAX_CHUNK_UTTS = 512
TABLES = ("wav.scp", "text", "utt2spk", "utt2lang", "utt2dur", "utt2repeat", "segments")


def format_audio(options: argparse.Namespace) -> None:
    """Convert all sets of `options.data`."""
    if options.audio_format == "flac":
        require_espnet()
    data, out = Path(options.data), Path(options.out)
    sets = read_sets(data / "sets.tsv")
    todo = {row: inputs for row in sets if not _is_done(out / row.set, inputs := _inputs(data / row.set, options))}
    if len(todo) < len(sets):
        log(f"stage 2: {len(sets) - len(todo)} of {len(sets)} sets in {out} are complete, their inputs unchanged")
    total = sum(len(read_table(data / row.set / "utt2spk")) for row in todo)
    hours = 0.0
    with tqdm(total=total, desc="audio", unit="utt") as progress, _pool(options.nj if todo else 0) as pool:
        for row, inputs in todo.items():
            hours += _format_set(row, data / row.set, out / row.set, options, pool, progress)
            mark_current(out / row.set, inputs)
    if not (out / "sets.tsv").is_file() or read_sets(out / "sets.tsv") != sets:
        with atomic_path(out / "sets.tsv") as temporary:
            write_sets(temporary, sets)
    log(f"stage 2: read {len(todo)} sets of {data}, wrote {hours:.2f} h of 16 kHz audio to {out}")


def require_espnet() -> None:
    """Raise ValueError with the remedy where espnet's writer is not installed."""
    try:
        import espnet2.fileio.sound_scp  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--audio_format flac writes with espnet, which is not installed ({error}); run tools/install_espnet.sh "
            f"or use --audio_format flac.ark"
        ) from error


def _pool(nj: int):
    return multiprocessing.get_context("spawn").Pool(nj) if nj else contextlib.nullcontext()


def _inputs(source: Path, options: argparse.Namespace) -> dict[str, str]:
    limits = (options.min_s, options.max_s, options.audio_format, options.max_quarantine_share)
    return fingerprint(limits=limits, **{name: source / name for name in TABLES})


def _is_done(target: Path, inputs: dict[str, str]) -> bool:
    return is_current(target, inputs) and (target / "wav.scp").is_file()


def _format_set(
    row: SetRow, source: Path, target: Path, options: argparse.Namespace, pool: Pool, progress: tqdm
) -> float:
    """Convert one set; returns its hours."""
    entries = read_data_dir(source)
    (target / "data").mkdir(parents=True, exist_ok=True)
    (target / FINGERPRINT).unlink(missing_ok=True)
    chunks = list(_chunks(entries, target, options))
    results = []
    for result in pool.imap_unordered(convert_chunk, chunks):
        results.append(result)
        progress.update(len(result.written) + len(result.quarantined))
    _remove_stale(target / "data", chunks)
    quarantined = sorted(item for result in results for item in result.quarantined)
    _check_share(row, quarantined, len(entries), options.max_quarantine_share, target)
    kept, filtered = _filter(row, entries, results, options)
    if not kept:
        raise ValueError(f"{target}: none of {len(entries)} utterances lasts {options.min_s} to {options.max_s} s")
    seconds = _write_tables(target, kept, results, filtered)
    if quarantined:
        log(f"stage 2: {row.set}: {len(quarantined)} of {len(entries)} quarantined; see {target}/quarantine.tsv")
    if filtered:
        log(f"stage 2: {row.set}: {len(filtered)} of {len(entries)} are not {options.min_s} to {options.max_s} s long")
    return seconds / 3600


def _chunks(entries: list[Entry], target: Path, options: argparse.Namespace) -> Iterator[Chunk]:
    """Split a set into work for the processes; utterances of one recording stay together, in its order."""
    rows = sorted(entries, key=lambda row: (row.audio, row.start_s or 0.0, row.utt))
    size = min(MAX_CHUNK_UTTS, max(16, -(-len(rows) // (2 * options.nj))))
    batch: list[Entry] = []
    number = 0
    for row in rows:
        if len(batch) >= size and row.audio != batch[-1].audio:
            number += 1
            yield Chunk(str(target / "data" / f"format.{number}"), options.audio_format, tuple(batch))
            batch = []
        batch.append(row)
    yield Chunk(str(target / "data" / f"format.{number + 1}"), options.audio_format, tuple(batch))


def _remove_stale(folder: Path, chunks: list[Chunk]) -> None:
    """Chunks of an earlier run that had more of them."""
    current = {Path(chunk.base).name for chunk in chunks}
    for path in folder.glob("format.*.json"):
        name = path.name.removesuffix(".json")
        if name not in current:
            for stale in (path, folder / f"{name}.ark"):
                stale.unlink(missing_ok=True)


def _filter(
    row: SetRow, entries: list[Entry], results: list[ChunkResult], options: argparse.Namespace
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Length limits, for training sets only: a test set loses nothing."""
    found = {utt: (entry, samples) for result in results for utt, entry, samples in result.written}
    kept, filtered = [], []
    for entry in entries:
        if entry.utt not in found:
            continue
        audio, num_samples = found[entry.utt]
        seconds = num_samples / SAMPLE_RATE
        if row.kind == "train" and not options.min_s <= seconds <= options.max_s:
            filtered.append((entry.utt, f"{seconds:.2f} s"))
        else:
            kept.append(entry._replace(audio=audio, duration_s=seconds, start_s=None, end_s=None))
    return kept, filtered


def _check_share(row: SetRow, quarantined: list[tuple[str, str]], count: int, max_share: float, target: Path) -> None:
    """Write quarantine.tsv; raise ValueError if more than one utterance and more than the share is in it."""
    with atomic_path(target / "quarantine.tsv") as temporary:
        write_lines(temporary, ["utt\treason", *("\t".join(item) for item in quarantined)])
    if len(quarantined) > max(1.0, max_share * count):
        utt, reason = quarantined[0]
        raise ValueError(
            f"{target}/quarantine.tsv: {len(quarantined)} of {count} utterances of {row.set} cannot be used, wanted at "
            f"most {max_share:.1%} (first: {utt}: {reason}); mend the corpus or raise --max_quarantine_share"
        )


def _write_tables(
    target: Path, kept: list[Entry], results: list[ChunkResult], filtered: list[tuple[str, str]]
) -> float:
    samples = {utt: count for result in results for utt, _, count in result.written}
    tables = tables_of(kept) | {
        "utt2num_samples": (f"{entry.utt} {samples[entry.utt]}" for entry in kept),
        "filtered.tsv": iter(["utt\tduration", *("\t".join(item) for item in filtered)]),
    }
    for name, lines in tables.items():
        with atomic_path(target / name) as temporary:
            write_lines(temporary, lines)
    validate_data_dir(target, for_kaldi=False)
    return sum(entry.duration_s for entry in kept)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--data", default="data", help="directory that stage 1 wrote")
    options.add_argument("--out", default="dump/raw", help="directory to write")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")
    options.add_argument("--min_s", type=float, default=0.1, help="shortest utterance of a training set, in seconds")
    options.add_argument("--max_s", type=float, default=30.0, help="longest utterance of a training set, in seconds")
    options.add_argument("--audio_format", default="flac.ark", choices=AUDIO_FORMATS, help="flac: one file each")
    options.add_argument(
        "--max_quarantine_share", type=float, default=0.01, help="of a set's utterances; more is an error"
    )
    return run_step(format_audio, options.parse_args(argv), "stage 2")


if __name__ == "__main__":
    sys.exit(main())
