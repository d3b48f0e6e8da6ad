"""Decode the test sets of a trained model (stage 7).

In: a training directory, manifests. Out: <exp>/decode_<search>_<regime>[_<tag>]/ with run.json and, for each test set,
{text,retried,rtf.json,encoder_means.ark}, and nbest.jsonl if nbest > 1; `retried` lists utterances that were decoded
again because of a loop. Each test set is locked while it is decoded, so that several processes can share the sets of
one model.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zipperasr import run_record
from zipperasr.atomic import fingerprint, is_current
from zipperasr.audio.segments import segment_frames
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log
from zipperasr.datadir.set_table import read_sets
from zipperasr.decode.batch_plan import SetToDecode, plan_batches
from zipperasr.decode.decode_config import ALIGNMENT_SETS, DecodeConfig
from zipperasr.decode.encoder_means import PER_SET
from zipperasr.languages import LanguageTable
from zipperasr.model.experiment import Experiment, located
from zipperasr.shards import remove_shards
from zipperasr.sole_writer import sole_writer

_TAG = re.compile(r"[\w.-]*")


@dataclass(frozen=True)
class DecodingTask:
    """What to decode.

    Attributes:
        manifest: stage 3's manifests.
        languages: the language table.
        regime: "chunked" or "full"; None: the regime the model was trained in.
        sets: names of test sets; None: those of the model's phase, an adapted model decodes all of them.
        lang: of these, only the sets in these languages; () for all.
        tag: appended to the directory's name.
        alignment_sets: "own" or "all": an alignment decodes the test sets of its phase, or those of the adaptation too.
    """

    manifest: Path
    languages: Path
    regime: str | None = None
    sets: tuple[str, ...] | None = None
    lang: tuple[str, ...] = ()
    tag: str = ""
    alignment_sets: str = ALIGNMENT_SETS[0]

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.tag):
            raise ValueError(f"--inference_tag: got {self.tag!r}, wanted letters, digits, hyphens, dots, underscores")


@dataclass(frozen=True)
class DecodingPlan:
    """The decoding of one model: settings, output directory, and test sets by their output directories."""

    exp: Path
    experiment: Experiment
    config: DecodeConfig
    languages: Path
    regime: str
    tag: str
    directory: Path
    sets: Mapping[Path, SetToDecode]

    @classmethod
    def make(cls, exp: Path, config: DecodeConfig, task: DecodingTask) -> DecodingPlan:
        """Read the training directory and the manifests of its test sets."""
        experiment = located(Experiment.load(exp), exp)  # an unpacked bundle names its own backbones
        regime, tag = task.regime or experiment.regime, task.tag.strip("_")
        directory = exp / "_".join(["decode", config.name, regime, *([tag] if tag else [])])
        inputs = fingerprint(
            weights=exp / "model.safetensors",
            table=task.manifest / ".inputs.json",
            config=config,
            chunk=_chunk_frames(experiment, regime),
            languages=task.languages,
            embedded=PER_SET,
        )
        sets = {
            directory / manifest.name: SetToDecode(manifest, plan_batches(manifest, config), inputs)
            for manifest in sets_to_decode(experiment, task)
        }
        return cls(exp, experiment, config, task.languages, regime, tag, directory, sets)

    def todo(self) -> dict[Path, SetToDecode]:
        """Return the test sets that are not up to date, and log the others."""
        todo = {}
        for out, whole in self.sets.items():
            if is_current(out, whole.inputs):
                log(f"{out} is up to date")
            else:
                todo[out] = whole
        return todo

    def decode(self, todo: Mapping[Path, SetToDecode]) -> None:
        """Decode test sets, or parts of them."""
        from zipperasr.decode.decode_sets import decode_sets  # loads transformers

        chunk_frames = _chunk_frames(self.experiment, self.regime)
        decode_sets(self.exp, self.experiment, self.config, LanguageTable.load(self.languages), chunk_frames, todo)

    def save_record(self) -> None:
        """Write run.json."""
        run = run_record.DecodingRun(self.config.name, self.regime, self.tag, run_record.versions())
        run_record.save_run(run, self.directory)

    def lacks_record(self) -> bool:
        """Return True for the output of a version that did not write run.json."""
        return self.directory.is_dir() and not (self.directory / run_record.NAME).is_file()


def decode_experiment(exp: Path, config: DecodeConfig, task: DecodingTask) -> None:
    """Decode the test sets of the training directory `exp` that are not up to date."""
    plan = DecodingPlan.make(exp, config, task)
    todo = plan.todo()
    with contextlib.ExitStack() as locks:
        for out in todo:
            locks.enter_context(sole_writer(out))
        if todo or plan.lacks_record():
            plan.save_record()
        if todo:
            plan.decode(todo)
        for out in todo:
            remove_shards(out)


def _chunk_frames(experiment: Experiment, regime: str) -> int | None:
    return segment_frames(experiment.model.decode_chunk_s) if regime == "chunked" else None


def sets_to_decode(experiment: Experiment, task: DecodingTask) -> list[Manifest]:
    """The test sets to decode. Raises ValueError for a language without a test set that the model can decode."""
    table = task.manifest / "sets.tsv"
    rows = [row for row in read_sets(table) if row.kind == "test"]
    if task.sets is not None:
        return [Manifest.open(task.manifest, name) for name in task.sets]
    if experiment.phase == "sft" or task.alignment_sets == "all":
        rows = [row for row in rows if row.language in experiment.languages]  # the tables may have more by now
    else:
        rows = [row for row in rows if row.is_in(experiment.phase)]
    for code in task.lang:
        if not any(row.language == code for row in rows):
            raise ValueError(
                f"{table}: no test set in {code} that the model knows; write its line in conf/datasets.tsv, then run "
                "stages 1 to 3"
            )
    return [Manifest.open(task.manifest, row.set) for row in rows if not task.lang or row.language in task.lang]
