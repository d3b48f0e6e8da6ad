"""Stage 7: decode the test sets with trained models.

In: training directories, manifests. Out: <exp>/decode_<method>_<regime>/<test set>/{text,rtf.json,encoder_means.ark}.
The alignment decodes the test sets of its own phase, an SFT model all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.segments import segment_frames
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log, parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.datadir.set_table import read_sets
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.encoder_means import FILE, PER_SET, chosen, encoder_means, write_means
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import Experiment, load_model
from zipperasr.model.model_config import REGIMES
from zipperasr.sole_writer import sole_writer

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, nargs="+", required=True, help="training directories")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="stage 3's manifests")
    options.add_argument("--config", type=Path, required=True, help="decode.yaml")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--regime", choices=REGIMES, default=None, help="default: the one the model was trained in")
    options.add_argument("--sets", nargs="*", default=None, help="test sets; default: those of the model's phase")
    options.add_argument("--lang", nargs="*", default=[], metavar="CODE", help="of them, those in these languages")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that override --config")
    return run_step(_run, options.parse_args(argv), "zipperasr.stages.decode")


def _run(options: argparse.Namespace) -> None:
    config = load_yaml(DecodeConfig, options.config, parse_overrides(options.set))
    table = LanguageTable.load(options.languages)
    for exp in options.exp:
        with contextlib.ExitStack() as locks:
            _decode_exp(exp, options, config, table, locks)


def _decode_exp(
    exp: Path, options: argparse.Namespace, config: DecodeConfig, table: LanguageTable, locks: contextlib.ExitStack
) -> None:
    """Decodes the test sets that are not current; each has a lock of its own, so that runs can share them out."""
    experiment = Experiment.load(exp)
    regime = options.regime or experiment.regime
    chunk_s = experiment.model.decode_chunk_s
    chunk_frames = segment_frames(chunk_s) if regime == "chunked" else None
    todo = {}
    for manifest in _test_sets(options, experiment):
        out = exp / f"decode_{config.name}_{regime}" / manifest.name
        inputs = fingerprint(
            weights=exp / "model.safetensors",
            table=options.manifest / ".inputs.json",
            config=config,
            chunk=chunk_frames,
            languages=options.languages,
            embedded=PER_SET,
        )
        if is_current(out, inputs):
            log(f"{out} is up to date")
        else:
            locks.enter_context(sole_writer(out))
            todo[out] = (manifest, inputs)
    if todo:
        _decode_all(exp, experiment, config, table, chunk_frames, todo)


def _test_sets(options: argparse.Namespace, experiment: Experiment) -> list[Manifest]:
    table = options.manifest / "sets.tsv"
    rows = [row for row in read_sets(table) if row.kind == "test"]
    if options.sets is not None:
        return [Manifest.open(options.manifest, name) for name in options.sets]
    if experiment.phase == "sft":  # languages may have come to the tables since
        rows = [row for row in rows if row.language in experiment.languages]
    else:
        rows = [row for row in rows if row.phase == experiment.phase]
    for code in options.lang:
        if not any(row.language == code for row in rows):
            raise ValueError(
                f"{table}: no test set in {code} that the model knows; write its line in conf/datasets.tsv, then run "
                "stages 1 to 3"
            )
    return [
        Manifest.open(options.manifest, row.set) for row in rows if not options.lang or row.language in options.lang
    ]


def _decode_all(exp: Path, experiment: Experiment, config: DecodeConfig, table, chunk_frames, todo: dict) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(exp, _DTYPES[config.precision]).to(device).eval()
    tokenizer = load_tokenizer(experiment.model.llm)
    read = ExampleReader(tokenizer, table, experiment.model.mel_bins, edge_frames=experiment.model.edge_frames)
    decoder = Decoder(model, tokenizer, config, chunk_frames)
    adapted = len(model.adapters.layers) if model.adapters is not None else 0
    log(f"{exp}: {adapted} encoder layers adapted; {len(todo)} test sets to decode ({config.name})")
    total = sum(len(manifest) for manifest, _ in todo.values())
    with tqdm(total=total, desc=exp.name, unit="utt", mininterval=2) as bar, encoder_means(model) as means:
        for out, (manifest, inputs) in todo.items():
            start, texts, embeddings = time.monotonic(), {}, {}
            embedded = chosen(manifest.table["utt_id"].to_pylist())

            def keep(examples: Sequence[Example], embedded: set[str] = embedded, embeddings: dict = embeddings) -> None:
                for example, mean in zip(examples, means, strict=True):
                    if example.utt_id in embedded:
                        embeddings[example.utt_id] = mean
                means.clear()

            for decoded in decoder.run(batches(manifest, read, config), keep):
                texts[decoded.example.utt_id] = decoded.text
                bar.update()
            _write(out, manifest, texts, embeddings, time.monotonic() - start, inputs)


def batches(manifest: Manifest, read: ExampleReader, config: DecodeConfig) -> Iterator[list[Example]]:
    """Utterances of similar length, within the bounds on positions and on utterances; read as they are needed."""
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


def _write(out: Path, manifest: Manifest, texts: dict, embeddings: dict, seconds: float, inputs: dict) -> None:
    audio_s = float(manifest.num_samples.sum()) / 16_000
    with atomic_path(out) as temporary:
        temporary.mkdir()
        lines = (
            f"{utt_id} {' '.join(texts[utt_id].split())}".rstrip() for utt_id in manifest.table["utt_id"].to_pylist()
        )
        (temporary / "text").write_text("\n".join(lines) + "\n", encoding="utf-8")
        figures = {"audio_s": round(audio_s, 2), "seconds": round(seconds, 2), "rtf": round(seconds / audio_s, 5)}
        (temporary / "rtf.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")
        write_means(temporary / FILE, embeddings)
        mark_current(temporary, inputs)


if __name__ == "__main__":
    sys.exit(main())
