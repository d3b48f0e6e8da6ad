"""Write files and directories that are either complete or absent.

Output goes to a temporary path next to its target and is renamed at the end, so readers never see half a file. A step
is skipped if its output is complete and was made from inputs with the same fingerprint.
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
    """Yield a temporary path next to `path`; rename it on success, remove it on failure.

    The caller may create a file or a directory there. An existing target is replaced as a whole.
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
    """Yield an empty temporary directory; on success move its files to `directory`, keeping other files there.

    On failure `directory` is unchanged.
    """
    directory = Path(
        directory
    ).resolve()  # next to the target of a link, because files are renamed within one file system
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = _aside(directory)
    temporary.mkdir()
    try:
        yield temporary
        _use_umask(temporary)
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
    """Return a short digest of each input; of the content if it is a `Path`."""
    return {name: _digest(value) for name, value in sorted(inputs.items())}


def is_current(directory: str | Path, inputs: dict[str, str], say: Callable[[str], None] = log) -> bool:
    """Return True if `directory` was completed from exactly these inputs (see `mark_current`) and is undamaged.

    Args:
        say: called with a message that names a damaged file, if there is one.
    """
    record = Path(directory) / FINGERPRINT
    if not record.is_file():
        return False
    known = read_record(record)
    damage = f"{record} is damaged" if known is None else _damage(Path(directory)) if known == inputs else None
    if damage:
        say(f"{damage}; writing {directory} again")
    return known == inputs and not damage


def mark_current(directory: str | Path, inputs: dict[str, str], files: Iterable[str] | None = None) -> None:
    """Record the inputs that `directory` was made from. Call it last.

    Args:
        files: files that must keep their size for `directory` to be current; default: all files directly in it.
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
    """Return how the first file differs from its state at `mark_current`; None if no file does."""
    record = directory / SIZES
    if not record.is_file():  # written by an older version
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
    """Give weights the default file mode; safetensors makes them readable by their owner only."""
    weights = [written] if written.is_file() else list(written.rglob("*.safetensors"))
    private = [path for path in weights if path.is_file() and not path.stat().st_mode & 0o077]
    if private:
        probe = written.with_name(f"{written.name}.mode.tmp")
        probe.touch()
        for path in private:
            path.chmod(probe.stat().st_mode)
        probe.unlink()


def _aside(path: Path) -> Path:
    """Return a temporary path next to `path`; remove those left by killed processes of this machine."""
    host = socket.gethostname()
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}.*.tmp"):
        writer = int(left.name.rsplit(".", 2)[1])
        if writer == os.getpid() or not process_runs(writer):
            _remove(left)
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.tmp")


def process_runs(process: int) -> bool:
    """Return True if this machine runs a process with that id."""
    try:
        os.kill(process, 0)  # signal 0 only checks
    except ProcessLookupError:
        return False
    except PermissionError:  # belongs to another user
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
    """Re-raise errors of a full disk with its path and a remedy; ignore other errors."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(
            f"{path}: cannot be written ({error.strerror}); free some space and rerun: finished work is kept"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
