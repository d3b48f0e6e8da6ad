"""Stage 3: one memory-mapped table per data set, with everything that packing must know.

In: dump/raw/<set> (Kaldi files), the LLM's tokenizer. Out: dump/manifest/<set>.arrow, packing.json with the fill of
the first epoch. Loader workers share the mapped pages; no worker holds a copy.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.batching.packing import fill, pack_epoch
from zipperasr.cli import log, nearest
from zipperasr.config import load_yaml
from zipperasr.datadir.read import COLUMN_OF, read_blocks
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.prompt import batch_transcript_ids, prompt_ids
from zipperasr.model.segments import num_positions
from zipperasr.sole_writer import sole_writer

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("utt_id", "language", "audio", "text")]
    + [("num_samples", pa.int64())]
    + [(name, pa.int32()) for name in ("num_tokens", "repeat", "positions")]
)
BLOCK_ROWS = 1 << 16
TOKENIZER_BLOCK = 4096


@dataclass(frozen=True)
class Manifest:
    """One data set. Columns: utt_id, language, audio, text, num_samples, num_tokens, repeat, positions.

    num_tokens counts the transcript with its end token; positions adds prompt and speech.
    """

    name: str
    table: pa.Table

    @classmethod
    def open(cls, directory: str | Path, name: str) -> Manifest:
        """Map `<directory>/<name>.arrow`. Raises FileNotFoundError naming the stage that writes it."""
        path = Path(directory) / f"{name}.arrow"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no manifest; run stage 3")
        return cls(name, feather.read_table(path, memory_map=True))

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def num_samples(self) -> np.ndarray:
        return self.table["num_samples"].to_numpy()

    @cached_property
    def num_tokens(self) -> np.ndarray:
        return self.table["num_tokens"].to_numpy()

    @cached_property
    def positions(self) -> np.ndarray:
        return self.table["positions"].to_numpy()

    @cached_property
    def repeat(self) -> np.ndarray:
        return self.table["repeat"].to_numpy()

    @cached_property
    def language_codes(self) -> tuple[list[str], np.ndarray]:
        """The set's languages, and for each row its place among them."""
        column = self.table["language"].combine_chunks().dictionary_encode()
        return column.dictionary.to_pylist(), column.indices.to_numpy()

    @property
    def languages(self) -> np.ndarray:
        """(rows,) of str: for small sets."""
        return self.table["language"].to_numpy()

    def row(self, index: int) -> dict:
        """Utterance `index` as a dictionary of its columns."""
        return {name: column[index].as_py() for name, column in zip(self.table.column_names, self.table, strict=True)}


def open_kind(directory: str | Path, kind: str, phase: str | None = None) -> list[Manifest]:
    """The manifests of all sets of a kind (train, dev, test), of one phase or of both."""
    rows = [row for row in read_sets(Path(directory) / "sets.tsv") if row.kind == kind and phase in (None, row.phase)]
    if not rows:
        raise ValueError(f"{directory}/sets.tsv: no {kind} set of phase {phase}; run stages 1 to 3")
    return [Manifest.open(directory, row.set) for row in rows]


def write_manifest(raw: Path, path: Path, tokenizer, prompt_lengths: dict[str, int]) -> None:
    """One data directory of stage 2 as an Arrow file, with its tokens counted. Raises ValueError on a flawed table."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for block in read_blocks(raw, BLOCK_ROWS):
            writer.write_batch(_with_counts(block, raw, tokenizer, prompt_lengths))


def _with_counts(block: pa.RecordBatch, raw: Path, tokenizer, prompt_lengths: dict[str, int]) -> pa.RecordBatch:
    if block["num_samples"].null_count:
        raise ValueError(f"{raw / 'utt2num_samples'}: no such file; rerun stage 2")
    languages = block["language"].dictionary_encode()
    unknown = sorted(set(languages.dictionary.to_pylist()) - prompt_lengths.keys())
    if unknown:
        hint = nearest(unknown[0], list(prompt_lengths))
        raise ValueError(f"{raw / 'utt2lang'}: unknown language {unknown[0]!r}; {hint}; or add its line to the table")
    prompts = np.array([prompt_lengths[code] for code in languages.dictionary.to_pylist()], dtype=np.int32)
    num_tokens = _count_tokens(block["text"].to_pylist(), tokenizer)
    speech = np.array([num_positions(count) for count in block["num_samples"].to_pylist()], dtype=np.int32)
    positions = prompts[languages.indices.to_numpy()] + speech + num_tokens
    counted = {"num_tokens": pa.array(num_tokens), "positions": pa.array(positions)}
    same = {name: block[name] for name in ("language", "audio", "text", "num_samples", "repeat")}
    return pa.record_batch({"utt_id": block["utt"], **same, **counted}).select(SCHEMA.names)


def _count_tokens(texts: list[str], tokenizer) -> np.ndarray:
    """Tokens of each transcript, with its end token."""
    counts = []
    for start in range(0, len(texts), TOKENIZER_BLOCK):
        counts += map(len, batch_transcript_ids(tokenizer, texts[start : start + TOKENIZER_BLOCK]))
    return np.array(counts, dtype=np.int32)


def packing_report(manifests: list[Manifest], max_positions: int) -> dict:
    """Fill and pack count of the first epoch, and the training utterances that are too long for any pack."""
    packs = pack_epoch(manifests, max_positions, seed=0, epoch=0)
    too_long = sum(int((manifest.positions > max_positions).sum()) for manifest in manifests)
    return {
        "packs": len(packs),
        "utterances": int(packs.num_utts.sum()),
        "fill": round(fill(packs, max_positions), 4),
        "max_positions": max_positions,
        "too_long": too_long,
    }


def build_manifests(options: argparse.Namespace) -> None:
    config = load_yaml(ModelConfig, options.model)
    table = LanguageTable.load(options.languages)
    rows = read_sets(options.raw / "sets.tsv")
    sources = {f"{row.set}/{name}": options.raw / row.set / name for row in rows for name in COLUMN_OF}
    inputs = fingerprint(
        model=config,
        tokenizer=Path(config.llm) / "tokenizer.json",
        languages=options.languages,
        sets=options.raw / "sets.tsv",
        **sources,
    )
    if is_current(options.out, inputs):
        log(f"{options.out} is up to date")
        return
    with sole_writer(options.out):
        report = _write_all(options, config, table, rows, inputs)
    for phase, facts in report.items():
        log(f"{phase}: {facts['utterances']} utterances in {facts['packs']} packs, fill {facts['fill']:.1%}")
        if facts["too_long"]:
            log(f"{phase}: {facts['too_long']} utterances exceed {config.max_positions} positions: not trained on")


def _write_all(
    options: argparse.Namespace, config: ModelConfig, table: LanguageTable, rows: list[SetRow], inputs: dict[str, str]
) -> dict[str, dict]:
    """All manifests; returns the packing report by phase."""
    tokenizer = load_tokenizer(config.llm)
    prompts = {language.code: len(prompt_ids(tokenizer, language)) for language in table}
    with atomic_path(options.out) as temporary:
        temporary.mkdir()
        for row in tqdm(rows, desc="manifests", mininterval=2):
            write_manifest(options.raw / row.set, temporary / f"{row.set}.arrow", tokenizer, prompts)
        (temporary / "sets.tsv").write_bytes((options.raw / "sets.tsv").read_bytes())
        report = {
            phase: packing_report(open_kind(temporary, "train", phase), config.max_positions)
            for phase in sorted({row.phase for row in rows if row.kind == "train"})
        }
        (temporary / "packing.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        mark_current(temporary, inputs)
    return report
