"""Run a stage in shards: all in this process, or as jobs of which one is killed while it works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# A job runner as a site may have it: utils/run.sh, but job 2 is killed once, when the file that it makes first exists.
RUNNER = r"""#!/usr/bin/env bash
[[ $1 == JOB=* ]] || exec {root}/utils/run.sh "$@"
range=$1 log=$2
shift 2
exec {root}/utils/run.sh "${{range}}" "${{log}}" {here}/job JOB "$@"
"""
JOB = r"""#!/usr/bin/env bash
number=$1
shift
echo "${{number}}" >>{here}/started
if [[ ${{number}} == 2 && ! -e {here}/killed ]]; then
    "$@" &
    until [[ -L '{sign}' || -e '{sign}' ]]; do kill -0 $! && sleep 0.01 || exit 3; done
    kill -KILL $! && touch {here}/killed
    wait $!
    exit 1
fi
exec "$@"
"""


def run_in_shards(main: Callable[[Sequence[str]], int], argv: Sequence[str], count: int) -> None:
    """Run all shards, the last one first, and merge them; a single one is today's stage."""
    if count == 1:
        assert main(argv) == 0
        return
    for task in (*range(count, 0, -1), "merge"):
        assert main([*argv, "--shard", f"{task}/{count}"]) == 0


def run_and_kill_one(root: Path, here: Path, module: str, argv: Sequence[str], sign: str) -> list[str]:
    """Run a stage in two shards with utils/shards.sh, and kill shard 2 with SIGKILL as soon as the file `sign` exists.

    Returns the numbers of the shards that were started, in order. here: an empty directory.
    """
    for name, text in (("runner", RUNNER), ("job", JOB)):
        (here / name).write_text(text.format(root=root, here=here, sign=sign))
        (here / name).chmod(0o755)
    command = [root / "utils" / "shards.sh", "--nj", "2", "--cmd", here / "runner", here / "stage.log"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, "python3", "-m", module, *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in here.glob("stage*.log"))
    assert (here / "killed").exists(), "shard 2 ended before it was killed"
    return (here / "started").read_text().split()


def content(directory: Path, but_for: Sequence[str] = ()) -> dict[str, object]:
    """The bytes of all files, by relative path, but for files of these names and their sizes."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_dir() or path.name in but_for:
            continue
        found[str(path.relative_to(directory))] = path.read_bytes()
        if path.name == ".outputs.json":
            sizes = json.loads(path.read_text())
            found[str(path.relative_to(directory))] = {n: size for n, size in sizes.items() if n not in but_for}
    return found
