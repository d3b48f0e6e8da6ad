"""Convert the audio of all data sets to 16 kHz mono, one entry per utterance (stage 2).

In: data directories of stage 1, with any codec, sampling rate and number of channels. Out: dump/raw/<set>/ with FLAC in
arks (or one file per utterance), exact durations, and quarantine.tsv and filtered.tsv with the utterances left out and
the reasons. `nj` processes convert the chunks of a set; finished chunks and sets are skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import (
    FINGERPRINT,
    atomic_files,
    atomic_path,
    fingerprint,
    is_current,
    mark_current,
    scratch_directory,
)
from zipperasr.audio.chunks import Chunks, files_of_chunks, remove_stale
from zipperasr.audio.convert import Chunk, ChunkResult, convert_chunk
from zipperasr.cli import log
from zipperasr.datadir.entry import ENTRIES, Entry, write_lines
from zipperasr.datadir.set_table import SetRow, read_sets, write_sets
from zipperasr.datadir.sorted_spool import SortedSpool
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.datadir.write import Totals, write_tables
from zipperasr.parallel import processes
from zipperasr.shards import remove_shards
from zipperasr.sole_writer import sole_writer
from zipperasr.text_lines import count_lines

ConvertAll = Callable[[Iterable[Chunk]], Iterator[ChunkResult]]
TABLES = ("wav.scp", "text", "utt2spk", "utt2lang", "utt2dur", "utt2repeat", "segments")


@dataclass(frozen=True)
class FormatOptions:
    """How audio is converted, and which utterances are left out."""

    nj: int = 1  # processes
    min_s: float = 0.1  # length limits of training utterances
    max_s: float = 30.0
    audio_format: str = "flac.ark"  # see AUDIO_FORMATS
    max_quarantine_share: float = 0.01  # of a set's utterances; more is an error


def format_audio(data: Path, out: Path, options: FormatOptions) -> None:
    """Convert all sets of `data` to sets in `out`. Raises ValueError if too many utterances cannot be used."""
    if options.audio_format == "flac":
        require_espnet()
    sets = read_sets(data / "sets.tsv")
    todo = {row: inputs for row in sets if not is_done(out / row.set, inputs := set_inputs(data / row.set, options))}
    if len(todo) < len(sets):
        log(f"stage 2: {len(sets) - len(todo)} of {len(sets)} sets in {out} are complete, their inputs unchanged")
    total = sum(count_lines(data / row.set / "utt2spk") for row in todo)
    hours = 0.0
    lock = sole_writer(out) if todo else contextlib.nullcontext()
    converting = processes(options.nj if todo else 1, convert_chunk, "spawn")
    with lock, tqdm(total=total, desc="audio", unit="utt") as progress, converting as convert_all:
        for row, inputs in todo.items():
            hours += _format_set(row, data / row.set, out / row.set, options, convert_all, progress)
            audio = [str(path.relative_to(out / row.set)) for path in files_of_chunks(out / row.set / "data")]
            mark_current(out / row.set, inputs, audio)
    if not (out / "sets.tsv").is_file() or read_sets(out / "sets.tsv") != sets:
        with atomic_path(out / "sets.tsv") as temporary:
            write_sets(temporary, sets)
    remove_shards(out)  # merged now, or of an interrupted run
    log(f"stage 2: read {len(todo)} sets of {data}, wrote {hours:.2f} h of 16 kHz audio to {out}")


def require_espnet() -> None:
    """Raise ValueError with a remedy if espnet's writer is not installed."""
    try:
        import espnet2.fileio.sound_scp  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--audio_format flac writes with espnet, which is not installed ({error}); run tools/install_espnet.sh "
            f"or use --audio_format flac.ark"
        ) from error


def set_inputs(source: Path, options: FormatOptions) -> dict[str, str]:
    """Fingerprint of a set."""
    limits = (options.min_s, options.max_s, options.audio_format, options.max_quarantine_share)
    return fingerprint(limits=limits, **{name: source / name for name in TABLES})


def is_done(target: Path, inputs: dict[str, str]) -> bool:
    """Return True if a set was completed from these inputs."""
    return is_current(target, inputs) and (target / "wav.scp").is_file()


def begin_set(target: Path) -> None:
    """Create the directory of a set's audio; the set is not complete from now on."""
    (target / "data").mkdir(parents=True, exist_ok=True)
    (target / FINGERPRINT).unlink(missing_ok=True)


def _format_set(
    row: SetRow, source: Path, target: Path, options: FormatOptions, convert_all: ConvertAll, progress: tqdm
) -> float:
    """Convert one set. Returns its hours."""
    begin_set(target)
    with scratch_directory(target) as scratch:
        chunks = Chunks(source, target, options.audio_format, scratch)
        kept = SortedSpool(ENTRIES, "utt", scratch)
        quarantined, filtered = [], []
        for result in convert_all(chunks):
            quarantined += result.quarantined
            good = _within_limits(row, result.written, filtered, options)
            if good:
                kept.append(list(zip(*good, strict=True)))
            progress.update(len(result.written) + len(result.quarantined))
        remove_stale(target / "data", chunks.count)
        _check_share(row, sorted(quarantined), chunks.num_utts, options.max_quarantine_share, target)
        if not len(kept):
            raise ValueError(
                f"{target}: none of {chunks.num_utts} utterances is {options.min_s} to {options.max_s} s long"
            )
        totals = _write_tables(target, kept, sorted(filtered))
    if quarantined:
        log(f"stage 2: {row.set}: {len(quarantined)} of {chunks.num_utts} quarantined; see {target}/quarantine.tsv")
    if filtered:
        limits = f"{options.min_s} to {options.max_s} s long"
        log(f"stage 2: {row.set}: {len(filtered)} of {chunks.num_utts} are not {limits}")
    return totals.seconds / 3600


def _within_limits(
    row: SetRow, written: list[Entry], filtered: list[tuple[str, str]], options: FormatOptions
) -> list[Entry]:
    """Apply the length limits to training sets only; add the utterances left out to `filtered`."""
    if row.kind != "train":
        return written
    good = []
    for entry in written:
        if options.min_s <= entry.duration_s <= options.max_s:
            good.append(entry)
        else:
            filtered.append((entry.utt, f"{entry.duration_s:.2f} s"))
    return good


def _check_share(row: SetRow, quarantined: list[tuple[str, str]], count: int, max_share: float, target: Path) -> None:
    """Write quarantine.tsv. Raises ValueError if it has more than one utterance and more than the share."""
    with atomic_path(target / "quarantine.tsv") as temporary:
        write_lines(temporary, ["utt\treason", *("\t".join(item) for item in quarantined)])
    if len(quarantined) > max(1.0, max_share * count):
        utt, reason = quarantined[0]
        raise ValueError(
            f"{target}/quarantine.tsv: {len(quarantined)} of {count} utterances of {row.set} cannot be used, wanted at "
            f"most {max_share:.1%} (first: {utt}: {reason}); repair the corpus or raise --max_quarantine_share"
        )


def _write_tables(target: Path, kept: SortedSpool, filtered: list[tuple[str, str]]) -> Totals:
    """Write and validate all tables in a temporary directory, then move them into place."""
    with atomic_files(target) as temporary:
        totals = write_tables(temporary, kept.blocks(), segmented=False, name=target)
        write_lines(temporary / "filtered.tsv", ["utt\tduration", *("\t".join(item) for item in filtered)])
        validate_data_dir(temporary, for_kaldi=False)
    return totals
