"""Validate data directories like Kaldi's validate_data_dir.sh; also checks utt2repeat and utt2num_samples.

The first error is reported with file, line and remedy. Tables are streamed and only ids are kept in memory; audio and
feats are not read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.cli import log, parser, run_step
from zipperasr.datadir.arrow_blocks import Block
from zipperasr.datadir.column_values import RULES, SECONDS_OR_0, check_values
from zipperasr.datadir.speakers import check_spk2utt, read_utt2spk
from zipperasr.datadir.table_checks import REMEDY, check_transcripts, checked, place

DIFFERENCES = """
Rejected here but accepted by Kaldi's script, because a stage could not read it or would misread it:
  tables that are not UTF-8; outside text also CR, U+3000 and other whitespace than space and tab;
  NUL in any table, and CR inside a line: text files have neither;
  wav.scp or utt2lang without a value;
  utt2dur and reco2dur with words, nan or inf (Kaldi compares words as text);
  segments with times that are words, inf or negative;
  segments of utterances that are not in utt2spk (Kaldi compares them only if there is a text);
  a line of spk2utt without utterances (Kaldi warns and continues).
Accepted here but rejected by Kaldi's script: a directory without feats.scp, because training computes features.
"""
BY_UTTERANCE = (
    *("utt2lang", "utt2dur", "utt2repeat", "utt2num_samples", "utt2num_frames"),
    *("utt2uniq", "utt2warp", "feats.scp", "vad.scp"),
)
BY_SPEAKER = ("cmvn.scp", "spk2gender", "spk2warp")
BY_RECORDING = ("reco2file_and_channel", "reco2dur")


def validate_data_dir(
    directory: str | Path,
    need_audio: bool = True,
    need_text: bool = True,
    any_character: bool = False,
    speaker_order: bool = True,
    for_kaldi: bool = True,
) -> int:
    """Validate a directory and return its number of utterances. Raises ValueError on the first error.

    Args:
        need_audio: require wav.scp; it is always checked if it exists.
        need_text: require and check text.
        any_character: allow unprintable characters in text.
        speaker_order: require utt2spk to be sorted by speaker, blanks included.
        for_kaldi: reject what only Kaldi's programs reject: reserved words in text, and 0 in utt2dur, which stage 1
            writes for audio with an unreadable header.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory}: no such directory; {REMEDY}")
    utterances = read_utt2spk(directory / "utt2spk", speaker_order)
    speakers = check_spk2utt(directory / "spk2utt", utterances)
    if need_text:
        for block in checked(directory / "text", utterances.ids):
            if for_kaldi:
                check_transcripts(block, directory / "text", any_character)
    recordings = _check_audio(directory, utterances.ids, need_audio)
    rules = RULES if for_kaldi else {**RULES, "utt2dur": SECONDS_OR_0}
    further = [(name, utterances.ids, "utt2spk") for name in BY_UTTERANCE]
    further += [(name, speakers, "spk2utt") for name in BY_SPEAKER]
    if recordings is not None:
        further += [(name, recordings, "wav.scp") for name in BY_RECORDING]
    else:
        further.append(("reco2dur", utterances.ids, "utt2spk"))
    for name, ids, of in further:
        if (directory / name).is_file():
            for block in checked(directory / name, ids, of):
                check_values(block, directory / name, rules[name])
    return len(utterances.ids)


def _check_audio(directory: Path, utts: pa.LargeStringArray, need_audio: bool) -> pa.LargeStringArray | None:
    """Return the ids of the recordings, or of the utterances if there are no segments; None without audio."""
    path, segments = directory / "wav.scp", directory / "segments"
    if not (path.is_file() or need_audio or segments.is_file()):
        return None
    ids = []
    for block in checked(path, None if segments.is_file() else utts):
        check_values(block, path, RULES["wav.scp"])
        if segments.is_file():
            ids.append(block.keys)
    if not segments.is_file():
        return utts
    recordings = pa.concat_arrays(ids)
    used = np.zeros(len(recordings), bool)
    for block in checked(segments, utts):
        check_values(block, segments, RULES["segments"])
        used[_check_segments(block, segments, recordings)] = True
    if not used.all():
        unused = recordings[int(np.argmin(used))].as_py()
        raise ValueError(f"{path}: id {unused!r}: not used in segments; {REMEDY}")
    return recordings


def _check_segments(block: Block, path: Path, recordings: pa.LargeStringArray) -> np.ndarray:
    """Return the indices of the recordings that the segments use."""
    values = block.values if block.plain else pc.replace_substring_regex(block.values, "[ \t]+", " ")
    words = pc.split_pattern(values, " ").flatten()
    names, starts, ends = (words.take(pa.array(np.arange(column, len(words), 3))) for column in range(3))
    numbers = pc.index_in(names, recordings)
    if numbers.null_count:
        row = pc.index(pc.is_null(numbers), True).as_py()
        raise ValueError(f"{place(block, row, path)}: recording {names[row].as_py()!r} is not in wav.scp; {REMEDY}")
    start_s, end_s = _seconds(starts), _seconds(ends)
    wrong = ~((start_s >= 0) & (start_s < end_s) & np.isfinite(end_s))
    if wrong.any():
        row = int(np.argmax(wrong))
        got = f"got start {starts[row]}, end {ends[row]}"
        raise ValueError(f"{place(block, row, path)}: {got}, wanted 0 <= start < end; {REMEDY}")
    return numbers.to_numpy()


def _seconds(values: pa.LargeStringArray) -> np.ndarray:
    """Parse numbers; nan for other words."""
    try:
        return pc.cast(values, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return np.array([_number(value) for value in values.to_pylist()])


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def main(argv: list[str] | None = None) -> int:
    options = parser(f"{__doc__}{DIFFERENCES}", prog="utils/validate_data_dir")
    options.add_argument("directories", nargs="+", metavar="DIR", help="data directories")
    options.add_argument("--no_wav", action="store_true", help="allow a directory without wav.scp")
    options.add_argument("--no_text", action="store_true", help="do not check text, which may be missing")
    options.add_argument(
        "--no_feats", action="store_true", help="accepted for compatibility with Kaldi; feats are never required"
    )
    options.add_argument(
        "--no_spk_sort", action="store_true", help="ignore the whitespace in utt2spk when checking its order"
    )
    options.add_argument("--non_print", action="store_true", help="allow unprintable characters in text")

    def step(given) -> None:
        for directory in given.directories:
            count = validate_data_dir(
                directory, need_audio=not given.no_wav, need_text=not given.no_text,
                any_character=given.non_print, speaker_order=not given.no_spk_sort,
            )  # fmt: skip
            log(f"{directory}: a valid data directory of {count} utterances")

    return run_step(step, options.parse_args(argv), "validate_data_dir")


if __name__ == "__main__":
    sys.exit(main())
