"""Decode test sets, or parts of them, with a loaded model.

In: a training directory, test sets with their batches. Out: for each, a directory (set_files.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log
from zipperasr.decode.batch_plan import SetToDecode
from zipperasr.decode.beam import max_new_tokens
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.encoder_means import chosen, encoder_means
from zipperasr.decode.hooks import Hooks
from zipperasr.decode.set_files import Results, write_set
from zipperasr.decode.vllm_search import VllmSearch
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.cpu_products import fast_products
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def decode_sets(
    exp: Path,
    experiment: Experiment,
    config: DecodeConfig,
    table: LanguageTable,
    chunk_frames: int | None,
    todo: Mapping[Path, SetToDecode],
) -> None:
    """Decode `todo` with the model in `exp`, and write each output directory when it is complete."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(exp, _DTYPES[config.precision]).eval()
    vllm = None
    if config.engine == "vllm":
        vllm = VllmSearch(model, config, max(_longest(part.manifest, config) for part in todo.values()))
    model.to(device)
    tokenizer = load_tokenizer(experiment.model.llm)
    settings = experiment.model
    read = ExampleReader(
        tokenizer,
        table,
        model.encoder.frontend,
        edge_frames=settings.edge_frames,
        trim_silence=settings.trim_silence,
    )
    decoder = Decoder(model, tokenizer, config, chunk_frames, vllm)
    adapted = len(model.adapters.layers) if model.adapters is not None else 0
    log(f"{exp}: {adapted} adapted encoder layers; {len(todo)} test sets to decode ({config.name})")
    total = sum(len(part.rows) for part in todo.values())
    bars = tqdm(total=total, desc=exp.name, unit="utt", mininterval=2)
    with bars as bar, encoder_means(model) as means, fast_products(_DTYPES[config.precision]):
        for out, part in todo.items():
            start, results = time.monotonic(), Results()
            wanted = chosen(part.manifest.table["utt_id"].to_pylist())

            def keep(examples: Sequence[Example], wanted: set[str] = wanted, results: Results = results) -> None:
                results.means |= {
                    example.utt_id: mean
                    for example, mean in zip(examples, means, strict=True)
                    if example.utt_id in wanted
                }
                means.clear()

            for decoded in decoder.run(read_batches(part, read), Hooks(encoded=keep)):
                results.texts[decoded.example.utt_id] = decoded.text
                if decoded.alternatives:
                    results.alternatives[decoded.example.utt_id] = decoded.alternatives
                if decoded.retried:
                    results.retried.add(decoded.example.utt_id)
                bar.update()
            write_set(out, part, results, time.monotonic() - start)
    if vllm is not None:
        vllm.close()


def _longest(manifest: Manifest, config: DecodeConfig) -> int:
    """Positions that suffice for any utterance of a set, with a hypothesis of the largest length."""
    return int(manifest.positions.max()) + max_new_tokens(int(manifest.num_samples.max()), config)


def read_batches(part: SetToDecode, read: ExampleReader) -> Iterator[list[Example]]:
    """Yield the batches of `part`, read when needed."""
    for batch in part.batches:
        yield [read(part.manifest.row(row), with_transcript=False) for row in batch]
