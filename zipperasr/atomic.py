"""Files and directories that are either complete or absent.

Whatever is written goes to a temporary path beside its target and is renamed at the end, so a reader never
meets half a file. A step that finds its output whole and with the same fingerprint of inputs does not run twice.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from zipperasr.cli import log

FINGERPRINT = ".inputs.json"
SIZES = ".outputs.json"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it on failure.

    The body may create a file or a directory there. An existing target is replaced as a whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _aside(path)
    try:
        yield temporary
        _use_umask(temporary)
        if path.is_dir():
            _remove(path)
        os.replace(temporary, path)
    except OSError as error:
        _name_a_full_disk(error, path)
        raise
    finally:
        _remove(temporary)


@contextlib.contextmanager
def atomic_files(directory: str | Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on success its files move to `directory`, whose other files stay.

    On failure `directory` is as it was, or absent as it was.
    """
    directory = Path(directory).resolve()  # beside what a link names: files are renamed within one file system
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = _aside(directory)
    temporary.mkdir()
    try:
        yield temporary
        directory.mkdir(exist_ok=True)
        for path in sorted(temporary.iterdir()):
            os.replace(path, directory / path.name)
    except OSError as error:
        _name_a_full_disk(error, directory)
        raise
    finally:
        _remove(temporary)


@contextlib.contextmanager
def scratch_directory(parent: str | Path) -> Iterator[Path]:
    """Yield a new directory below `parent`; remove it at the end. Those of killed runs are removed as well."""
    scratch = _aside(Path(parent) / "scratch")
    scratch.mkdir(parents=True)
    try:
        yield scratch
    except OSError as error:
        _name_a_full_disk(error, Path(parent))
        raise
    finally:
        _remove(scratch)


def fingerprint(**inputs: object) -> dict[str, str]:
    """Name each input by a short digest; a `Path` to a file is named by its content."""
    return {name: _digest(value) for name, value in sorted(inputs.items())}


def is_current(directory: str | Path, inputs: dict[str, str], say: Callable[[str], None] = log) -> bool:
    """True if `directory` was completed from exactly these inputs (see `mark_current`) and is still whole.

    `say` gets a line that names the file where something was damaged since.
    """
    record = Path(directory) / FINGERPRINT
    if not record.is_file():
        return False
    known = read_record(record)
    damage = f"{record} is damaged" if known is None else _damage(Path(directory)) if known == inputs else None
    if damage:
        say(f"{damage}; {directory} is made again")
    return known == inputs and not damage


def mark_current(directory: str | Path, inputs: dict[str, str], files: Iterable[str] | None = None) -> None:
    """Record the inputs that `directory` was made from. Call it last.

    files: what must be there, in the size it has now, for `directory` to be current; default: all files directly in it.
    """
    directory = Path(directory)
    if files is None:
        files = [path.name for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")]
    sizes = {name: (directory / name).stat().st_size for name in sorted(files)}
    for name, record in ((SIZES, sizes), (FINGERPRINT, inputs)):
        with atomic_path(directory / name) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_record(path: Path) -> dict | None:
    """Return the JSON object in a file; None if there is none, as after a full disk or a power cut."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _damage(directory: Path) -> str | None:
    """The first file that is not as `mark_current` found it; None if all are."""
    record = directory / SIZES
    if not record.is_file():  # of a version that did not write it
        return None
    sizes = read_record(record)
    if sizes is None:
        return f"{record} is damaged"
    for name, size in sizes.items():
        path = directory / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size:,} bytes instead of {size:,}"
    return None


def _use_umask(written: Path) -> None:
    """Give weights the mode that other files get; safetensors writes them readable by their owner alone."""
    weights = [written] if written.is_file() else list(written.rglob("*.safetensors"))
    private = [path for path in weights if path.is_file() and not path.stat().st_mode & 0o077]
    if private:
        probe = written.with_name(f"{written.name}.mode.tmp")
        probe.touch()
        for path in private:
            path.chmod(probe.stat().st_mode)
        probe.unlink()


def _aside(path: Path) -> Path:
    """A temporary path beside `path`. What killed processes of this machine have left of it is removed."""
    host = socket.gethostname()
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}.*.tmp"):
        writer = int(left.name.rsplit(".", 2)[1])
        if writer == os.getpid() or not process_runs(writer):
            _remove(left)
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.tmp")


def process_runs(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)  # asks, does nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _digest(value: object) -> str:
    digest = hashlib.sha256()
    if isinstance(value, Path):
        if value.is_file():
            with value.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        else:
            digest.update(f"no file {value}".encode())
    else:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def _name_a_full_disk(error: OSError, path: Path) -> None:
    """The system does not say where a full disk is, nor what to do; other errors stay as they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(
            f"{path}: no room to write it ({error.strerror}); make room there and start again: what is finished stays"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
