"""Lists of noise recordings and of room impulse responses: checked once, read in parts.

In: a text file with one path per line, or a wav.scp. Out: its entries; 16 kHz samples of one of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from zipperasr.audio.ark import split_entry
from zipperasr.audio.load import SAMPLE_RATE, open_entry, read_excerpt, sample_fault, to_16k_mono
from zipperasr.ranks import log_once
from zipperasr.text_lines import numbered_lines, refuse_composed, refuse_pipe

SCP = ".scp"  # a list with this suffix has an id before each path
LONGEST_RESPONSE_S = 4.0  # what follows is not read
MOST_LOGGED = 20
_THREADS = 16


def read_recordings(path: Path, key: str) -> tuple[str, ...]:
    """Return the entries of a list; their headers are read.

    Logs a line for each entry that cannot be read, then raises ValueError. `key` is named in errors.
    """
    if not path.is_file():
        raise ValueError(f"{key}: {path}: no such file; wanted a text file with one path per line, or a wav.scp")
    lines = list(numbered_lines(path))
    entries = [_entry(line, path) for _, line in lines]
    with ThreadPoolExecutor(_THREADS) as pool:  # opening a file of a network file system takes milliseconds
        found = zip(lines, entries, pool.map(_fault, entries), strict=True)
        faults = [
            f"{key}: {path}:{number}: {entry[:200] or line[:200]}: {fault}"
            for (number, line), entry, fault in found
            if fault
        ]
    for line in faults[1:MOST_LOGGED]:
        log_once(line)
    if faults:
        raise ValueError(f"{faults[0]}; {len(faults)} of {len(entries)} entries are wrong: correct or remove them")
    if not entries:
        raise ValueError(f"{key}: {path}: no entries; wanted one path per line")
    return tuple(entries)


def _entry(line: str, path: Path) -> str:
    entry = line.strip()
    return "".join(entry.split(maxsplit=1)[1:]) if path.suffix == SCP else entry


def _fault(entry: str) -> str | None:
    """Return why an entry cannot be used, if so."""
    if not entry:
        return "wanted an id and a path"
    try:
        refuse_composed(refuse_pipe(entry, "this list"), "this list")
        if not Path(split_entry(entry)[0]).is_file():
            return "no such file"
        with open_entry(entry) as recording:
            return None if recording.frames else "no samples"
    except soundfile.LibsndfileError as error:
        return f"cannot be decoded ({error.error_string})"
    except ValueError as error:
        return str(error)


def read_part(entry: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Read (num_samples,) from a random place of a recording; a shorter one is repeated from such a place.

    Raises ValueError if it cannot be decoded.
    """
    place = rng.random()
    wanted_s = num_samples / SAMPLE_RATE
    try:
        with open_entry(entry) as recording:
            spare_s = recording.frames / recording.samplerate - wanted_s
            if spare_s > 0:
                samples = read_excerpt(recording, place * spare_s, place * spare_s + wanted_s)
            else:
                samples = read_excerpt(recording, None, None)
                samples = np.roll(samples, -int(place * len(samples)))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{entry}: cannot be decoded ({error.error_string})") from error
    return np.resize(_checked(samples, entry), num_samples)


def read_response(entry: str) -> np.ndarray:
    """Read the first channel of a room impulse response: the mean of several microphones is not one."""
    try:
        with open_entry(entry) as recording:
            samples = recording.read(int(LONGEST_RESPONSE_S * recording.samplerate), dtype="float32", always_2d=True)
            return _checked(to_16k_mono(samples[:, 0], recording.samplerate), entry)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{entry}: cannot be decoded ({error.error_string})") from error


def _checked(samples: np.ndarray, entry: str) -> np.ndarray:
    if fault := sample_fault(samples) if len(samples) else "no samples":
        raise ValueError(f"{entry}: {fault}; remove it from its list")
    return samples
