"""Decode test sets with a loaded model.

In: a training directory, manifests. Out: for each test set, a directory with {text,retried,rtf.json,encoder_means.ark}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from zipperasr.atomic import atomic_path, mark_current
from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.encoder_means import FILE, chosen, encoder_means, write_means
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.cpu_products import fast_products
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model

RETRIED = "retried"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Todo = dict[Path, tuple[Manifest, dict[str, str]]]  # output directory: test set, fingerprint of the inputs


def decode_sets(
    exp: Path,
    experiment: Experiment,
    config: DecodeConfig,
    table: LanguageTable,
    chunk_frames: int | None,
    todo: Todo,
) -> None:
    """Decode the test sets of `todo` with the model in `exp`, and write each output directory when it is complete."""
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
    bars = tqdm(total=total, desc=exp.name, unit="utt", mininterval=2)
    with bars as bar, encoder_means(model) as means, fast_products(_DTYPES[config.precision]):
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
