"""Decode the test sets of a trained model (stage 7).

In: a training directory, manifests. Out: <exp>/decode_<search>_<regime>[_<tag>]/ with run.json and, for each test set,
{text,retried,rtf.json,encoder_means.ark}; `retried` lists utterances that were decoded again because of a loop. Each
test set is locked while it is decoded, so that several processes can share the sets of one model.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from zipperasr import run_record
from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.audio.segments import segment_frames
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log
from zipperasr.datadir.set_table import read_sets
from zipperasr.decode.decode_config import ALIGNMENT_SETS, DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.encoder_means import FILE, PER_SET, chosen, encoder_means, write_means
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model
from zipperasr.sole_writer import sole_writer

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RETRIED = "retried"
_TAG = re.compile(r"[\w.-]*")
Todo = dict[Path, tuple[Manifest, dict[str, str]]]  # output directory: test set, fingerprint of the inputs


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


def decode_experiment(exp: Path, config: DecodeConfig, task: DecodingTask) -> None:
    """Decode the test sets of the training directory `exp` that are not up to date."""
    experiment = Experiment.load(exp)
    regime, tag = task.regime or experiment.regime, task.tag.strip("_")
    chunk_frames = segment_frames(experiment.model.decode_chunk_s) if regime == "chunked" else None
    decode_dir = exp / "_".join(["decode", config.name, regime, *([tag] if tag else [])])
    todo: Todo = {}
    with contextlib.ExitStack() as locks:
        for manifest in sets_to_decode(experiment, task):
            out = decode_dir / manifest.name
            inputs = fingerprint(
                weights=exp / "model.safetensors",
                table=task.manifest / ".inputs.json",
                config=config,
                chunk=chunk_frames,
                languages=task.languages,
                embedded=PER_SET,
            )
            if is_current(out, inputs):
                log(f"{out} is up to date")
            else:
                locks.enter_context(sole_writer(out))
                todo[out] = (manifest, inputs)
        if todo or (decode_dir.is_dir() and not (decode_dir / run_record.NAME).is_file()):
            run = run_record.DecodingRun(config.name, regime, tag, run_record.versions())
            run_record.save_run(run, decode_dir)
        if todo:
            _decode_all(exp, experiment, config, LanguageTable.load(task.languages), chunk_frames, todo)


def sets_to_decode(experiment: Experiment, task: DecodingTask) -> list[Manifest]:
    """The test sets to decode. Raises ValueError for a language without a test set that the model can decode."""
    table = task.manifest / "sets.tsv"
    rows = [row for row in read_sets(table) if row.kind == "test"]
    if task.sets is not None:
        return [Manifest.open(task.manifest, name) for name in task.sets]
    if experiment.phase == "sft" or task.alignment_sets == "all":
        rows = [row for row in rows if row.language in experiment.languages]  # the tables may have more by now
    else:
        rows = [row for row in rows if row.phase == experiment.phase]
    for code in task.lang:
        if not any(row.language == code for row in rows):
            raise ValueError(
                f"{table}: no test set in {code} that the model knows; write its line in conf/datasets.tsv, then run "
                "stages 1 to 3"
            )
    return [Manifest.open(task.manifest, row.set) for row in rows if not task.lang or row.language in task.lang]


def _decode_all(
    exp: Path,
    experiment: Experiment,
    config: DecodeConfig,
    table: LanguageTable,
    chunk_frames: int | None,
    todo: Todo,
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(exp, _DTYPES[config.precision]).to(device).eval()
    tokenizer = load_tokenizer(experiment.model.llm)
    settings = experiment.model
    read = ExampleReader(
        tokenizer,
        table,
        settings.mel_bins,
        edge_frames=settings.edge_frames,
        trim_silence=settings.trim_silence,
    )
    decoder = Decoder(model, tokenizer, config, chunk_frames)
    adapted = len(model.adapters.layers) if model.adapters is not None else 0
    log(f"{exp}: {adapted} adapted encoder layers; {len(todo)} test sets to decode ({config.name})")
    total = sum(len(manifest) for manifest, _ in todo.values())
    with tqdm(total=total, desc=exp.name, unit="utt", mininterval=2) as bar, encoder_means(model) as means:
        for out, (manifest, inputs) in todo.items():
            start, texts, kept, retried = time.monotonic(), {}, {}, set()
            wanted = chosen(manifest.table["utt_id"].to_pylist())

            def keep(
                examples: Sequence[Example], wanted: set[str] = wanted, kept: dict[str, np.ndarray] = kept
            ) -> None:
                kept |= {
                    example.utt_id: mean
                    for example, mean in zip(examples, means, strict=True)
                    if example.utt_id in wanted
                }
                means.clear()

            for decoded in decoder.run(batches(manifest, read, config), keep):
                texts[decoded.example.utt_id] = decoded.text
                if decoded.retried:
                    retried.add(decoded.example.utt_id)
                bar.update()
            seconds = time.monotonic() - start
            _write(out, manifest, texts=texts, retried=retried, means=kept, seconds=seconds, inputs=inputs)


def batches(manifest: Manifest, read: ExampleReader, config: DecodeConfig) -> Iterator[list[Example]]:
    """Yield batches of utterances of similar length, limited in positions and utterances; read when needed."""
    order = manifest.num_samples.argsort(kind="stable").tolist()
    batch: list[Example] = []
    for index in order:
        example = read(manifest.row(index), with_transcript=False)
        if batch and (len(batch) == config.batch_size or (len(batch) + 1) * example.positions > config.batch_positions):
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _write(
    out: Path,
    manifest: Manifest,
    *,
    texts: dict[str, str],
    retried: set[str],
    means: dict[str, np.ndarray],
    seconds: float,
    inputs: dict[str, str],
) -> None:
    audio_s = float(manifest.num_samples.sum()) / SAMPLE_RATE
    with atomic_path(out) as temporary:
        temporary.mkdir()
        lines = (
            f"{utt_id} {' '.join(texts[utt_id].split())}".rstrip() for utt_id in manifest.table["utt_id"].to_pylist()
        )
        (temporary / "text").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (temporary / RETRIED).write_text("".join(f"{utt_id}\n" for utt_id in sorted(retried)), encoding="utf-8")
        speed = {"audio_s": round(audio_s, 2), "seconds": round(seconds, 2), "rtf": round(seconds / audio_s, 5)}
        (temporary / "rtf.json").write_text(json.dumps(speed) + "\n", encoding="utf-8")
        write_means(temporary / FILE, means)
        mark_current(temporary, inputs)
