"""Lock an output directory, so that only one run writes to it, even if machines share it over NFS.

The lock of DIR/NAME is DIR/.NAME.lock, a symbolic link whose target text names the owner: creating a link is atomic, on
NFS too. A lock is taken over if its process has died on this machine, belonged to a Slurm job that has been requeued
since and is now running here, or to a shard that has failed and is being run again (utils/shards.sh).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zipperasr.atomic import process_runs
from zipperasr.cli import log

_STATE, _START = 0, 19  # fields of /proc/PID/stat behind the command's name


class Owner(NamedTuple):
    """The process that holds a lock, as written in the link's target."""

    pid: int
    host: str
    boot: str  # boot id of the kernel: differs after a restart, and on another machine of that name
    start: str  # start of the process in ticks since boot, because process ids are reused
    namespace: str  # of process ids: containers may share a host name but see only their own processes
    job: str = ""  # what started the process and waits for its end: utils/shards.sh, or the Slurm job's id
    restarts: str = ""  # how often it has started the process again, of which only the last one runs

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def read(cls, lock: Path) -> Owner | None:
        """Return the owner; None if the file is not a lock of this program. Raises FileNotFoundError."""
        try:
            pid, *rest = os.readlink(lock).split(":")
            return cls(int(pid), *rest)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def this(cls) -> Owner:
        boot = Path("/proc/sys/kernel/random/boot_id")
        namespace = Path("/proc/self/ns/pid")
        return cls(
            os.getpid(),
            socket.gethostname().replace(":", "."),
            boot.read_text(encoding="ascii").strip() if boot.is_file() else "",
            (_stat(os.getpid()) or ("", ""))[1],
            os.readlink(namespace).strip("pid:[]") if namespace.is_symlink() else "",
            os.environ.get("SHARDS_RUN") or os.environ.get("SLURM_JOB_ID", ""),
            ".".join(filter(None, (os.environ.get("SHARDS_ATTEMPT"), os.environ.get("SLURM_RESTART_COUNT", "0")))),
        )

    def is_near(self, me: Owner) -> bool:
        """Return True if this process can see whether that one runs."""
        return (self.host, self.boot, self.namespace) == (me.host, me.boot, me.namespace)

    def is_dead(self, me: Owner) -> bool:
        """Return True if that process has certainly ended."""
        if self.job and self.job == me.job and self.restarts != me.restarts:
            return True  # Slurm and shards.sh wait for the end of a job, on all its nodes, before they start it again
        if not self.is_near(me):
            return False
        if not process_runs(self.pid):
            return True
        now = _stat(self.pid)
        return now is not None and (now[0] in "ZX" or now[1] != self.start)


@contextlib.contextmanager
def sole_writer(directory: str | Path) -> Iterator[None]:
    """Hold the lock of `directory`. Raises ValueError naming host and process if another run holds it."""
    directory = Path(os.path.abspath(directory))
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock, me = directory.with_name(f".{directory.name}.lock"), Owner.this()
    try:
        _acquire(lock, me, directory)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        log(f"{directory}: not locked, because its file system has no symbolic links; do not start a second run on it")
    try:
        yield
    finally:
        _release(lock, me)


def _acquire(lock: Path, me: Owner, directory: Path) -> None:
    for _ in range(3):
        try:
            os.symlink(str(me), lock)
            return
        except FileExistsError:
            pass
        try:
            owner = Owner.read(lock)
        except FileNotFoundError:  # released just now
            continue
        if owner == me:  # NFS repeats a request if the reply was lost
            return
        if owner is None or not owner.is_dead(me):
            raise ValueError(_held(directory, lock, owner, me))
        log(f"{directory}: process {owner.pid} held the lock and has died; taking it over")
        _remove_stale(lock, owner, me)
    raise ValueError(f"{directory}: another run has just started to write here; wait until it ends")


def _remove_stale(lock: Path, owner: Owner, me: Owner) -> None:
    """Remove the lock of `owner`, unless another process is doing so: this one might remove the other's new lock."""
    guard = lock.with_name(f"{lock.name}.takeover")
    try:
        os.symlink(str(me), guard)
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            other = Owner.read(guard)
            if other is None or other.is_dead(me):
                guard.unlink(missing_ok=True)  # for the next run
        return
    try:
        _release(lock, owner)
    finally:
        guard.unlink(missing_ok=True)


def _release(lock: Path, owner: Owner) -> None:
    with contextlib.suppress(FileNotFoundError):
        if Owner.read(lock) == owner:
            lock.unlink()


def _held(directory: Path, lock: Path, owner: Owner | None, me: Owner) -> str:
    if owner is None:
        return f"{directory}: {lock} exists and is not a lock of this program; remove it if no run writes here"
    message = f"{directory}: another run writes here (process {owner.pid} on {owner.host}); wait until it ends"
    return message if owner.is_near(me) else f"{message}, or remove {lock} if that process has died"


def _stat(pid: int) -> tuple[str, str] | None:
    """Return state and start of a process; None if the system does not report them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[_STATE], fields[_START]
    except (OSError, IndexError):
        return None
