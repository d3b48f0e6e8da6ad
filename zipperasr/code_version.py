"""Which commit this code is, if it runs from a clone of the repository."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable
from pathlib import Path

DIRTY = "-dirty"  # ends the name of a commit with uncommitted changes
_ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def commit() -> str:
    """`git describe` of this code when it was first asked for; "" if it is not in a clone."""
    return _git("describe", "--always", f"--dirty={DIRTY}", "--abbrev=12") or ""


def last_change(paths: Iterable[Path]) -> str:
    """The last commit that changed one of the files; "" if it is unknown."""
    return _git("log", "-1", "--format=%h", "--abbrev=12", "--", *(str(path.resolve()) for path in paths)) or ""


def comes_after(later: str, earlier: str) -> bool:
    """True if the commit `later` contains the commit `earlier`; False if not, or if this clone has not both."""
    return _git("merge-base", "--is-ancestor", earlier, later.removesuffix(DIRTY)) is not None


def _git(*words: str) -> str | None:
    """Output of a git command on this code's repository, without blanks around it; None if it fails."""
    if not (_ROOT / ".git").exists():  # installed, possibly inside somebody else's repository
        return None
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
