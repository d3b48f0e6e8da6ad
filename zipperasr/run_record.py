"""run.json: what a training or decoding directory holds, so that nothing has to be guessed from its name.

Stages 6 and 7 write it, the report reads it. A directory can be renamed or moved without losing what it is.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from zipperasr.atomic import atomic_path
from zipperasr.code_version import commit
from zipperasr.config import from_tree

NAME = "run.json"
PACKAGES = ("torch", "transformers", "deepspeed", "peft", "numpy", "kaldiio", "sentencepiece", "espnet", "jiwer")
R = TypeVar("R", bound="TrainingRun | DecodingRun")


@dataclass(frozen=True)
class TrainingRun:
    """One training.

    Attributes:
        phase: "align" (stage 5) or "sft" (stage 6).
        lora: variant of the encoder's LoRA, or "none"; None for the alignment.
        regime: "chunked" or "full".
        setting: training hours per low-resource language: "1h" or "30h".
        seed: random seed.
        tag: `--tag` without its leading underscore; "" if there is none. Runs that differ in the seed alone share it.
        parents: what the weights started from: role ("alignment", "initial_b", "init_from") -> directory.
        initial_parts: what was taken from `initial_b`; () if nothing.
        added: languages added to a trained model.
        versions: commit of this code, versions of Python and of the packages that matter, and the command line.
    """

    phase: str
    lora: str | None
    regime: str
    setting: str
    seed: int
    tag: str = ""
    parents: dict[str, str] = field(default_factory=dict)
    initial_parts: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DecodingRun:
    """One decoding of test sets by the model of the directory above.

    Attributes:
        search: "greedy" or "beamN".
        regime: "chunked" or "full": how much of an utterance the encoder saw at once.
        tag: `--inference_tag`; "" if there is none.
        versions: as in `TrainingRun`.
    """

    search: str
    regime: str
    tag: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def save_run(run: TrainingRun | DecodingRun, directory: Path) -> None:
    """Write <directory>/run.json."""
    with atomic_path(directory / NAME) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(run), indent=1) + "\n", encoding="utf-8")


def load_run(cls: type[R], directory: Path) -> R | None:
    """Read <directory>/run.json; None if an earlier version wrote the directory. ValueError if malformed."""
    path = directory / NAME
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); restore the file, or rerun the stage that wrote it") from error
    return from_tree(cls, tree, str(path))


def versions() -> dict[str, str]:
    """{"commit", "python", "machine", "command", package: version}; "" for what is unknown or not installed."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    record = {"commit": commit(), "python": platform.python_version(), "machine": platform.machine()}
    record["command"] = command
    for name in PACKAGES:
        try:
            record[name] = version(name)
        except PackageNotFoundError:
            record[name] = ""
    return record
