"""Count tokens and LLM positions, and write the manifests (stage 3).

In: dump/raw/<set> (Kaldi files), the LLM's tokenizer. Out: dump/manifest/<set>.arrow, and packing.json with the fill
rate of the first epoch. Rows of training sets may be composed of several utterances and silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.segments import num_positions
from zipperasr.batching.clip_config import ClipConfig
from zipperasr.batching.compose import ClipCounts, Composer
from zipperasr.batching.manifest import SCHEMA, Manifest, open_kind
from zipperasr.batching.packing import fill, pack_epoch
from zipperasr.cli import log, nearest
from zipperasr.datadir.read import COLUMN_OF, read_blocks
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.languages import LanguageTable
from zipperasr.parallel import processes
from zipperasr.prepare.dataset_table import PHASES
from zipperasr.sole_writer import sole_writer
from zipperasr.text_lines import count_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLOCK_ROWS = 1 << 16
TOKENIZER_BLOCK = 4096


def build_manifests(
    raw: Path,
    out: Path,
    *,
    languages: Path,
    llm: str,
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
    max_positions: int,
    clips: ClipConfig,
    nj: int = 1,
) -> None:
    """Write the manifests of all sets in `raw`, unless they are there and their inputs are unchanged.

    Args:
        llm: directory or hub id; its tokenizer.json decides whether the manifests are current.
        load_tokenizer: called only if manifests are written.
        max_positions: capacity of a pack.
        clips: composed clips of the training sets.
        nj: number of processes that count tokens, if there is work for several.
    """
    table = LanguageTable.load(languages)
    rows = read_sets(raw / "sets.tsv")
    sources = {f"{row.set}/{name}": raw / row.set / name for row in rows for name in COLUMN_OF}
    inputs = fingerprint(
        llm=llm,
        tokenizer=Path(llm) / "tokenizer.json",
        max_positions=max_positions,
        languages=languages,
        sets=raw / "sets.tsv",
        clips=asdict(clips) if clips.active else None,
        **sources,
    )
    if is_current(out, inputs):
        log(f"{out} is up to date")
        return
    with sole_writer(out), atomic_path(out) as temporary:
        temporary.mkdir()
        counts = _write_all(raw, temporary, rows, RowCounter(load_tokenizer(), table, clips, max_positions), nj)
        (temporary / "sets.tsv").write_bytes((raw / "sets.tsv").read_bytes())
        report = {
            phase: packing_report(open_kind(temporary, "train", phase), max_positions, nj)
            for phase in PHASES
            if any(row.kind == "train" and row.is_in(phase) for row in rows)
        }
        (temporary / "packing.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        mark_current(temporary, inputs)
    if clips.active:
        log(counts.described())
    for phase, facts in report.items():
        log(f"{phase}: {facts['utterances']} utterances in {facts['packs']} packs, fill rate {facts['fill']:.1%}")
        if facts["too_long"]:
            log(f"{phase}: {facts['too_long']} utterances exceed {max_positions} positions: excluded from training")


class RowCounter:
    """Counts the tokens and positions of a block of utterances, and composes clips of those of training sets.

    Args:
        clips: composed clips.
        max_positions: capacity of a pack.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, table: LanguageTable, clips: ClipConfig, max_positions: int):
        from zipperasr.model.prompt import prompt_ids  # loads transformers

        self._tokenizer, self._clips, self._max_positions = tokenizer, clips, max_positions
        self._prompt_lengths = {language.code: len(prompt_ids(tokenizer, language)) for language in table}

    def __call__(self, work: tuple[SetRow, Path, pa.RecordBatch]) -> tuple[SetRow, pa.RecordBatch, ClipCounts]:
        """Return the set and rows of its manifest. work: a set, its directory and a block of it. Raises ValueError."""
        row, raw, block = work
        composer = Composer(self._clips, self._max_positions, self._count_tokens)
        counted = self._with_counts(block, raw)
        if self._clips.active and row.kind == "train":
            counted = composer.compose(counted)
        return row, counted, composer.counts

    def _with_counts(self, block: pa.RecordBatch, raw: Path) -> pa.RecordBatch:
        if block["num_samples"].null_count:
            raise ValueError(f"{raw / 'utt2num_samples'}: no such file; rerun stage 2")
        languages = block["language"].dictionary_encode()
        lengths = self._prompt_lengths
        unknown = sorted(set(languages.dictionary.to_pylist()) - lengths.keys())
        if unknown:
            hint = nearest(unknown[0], list(lengths))
            raise ValueError(f"{raw / 'utt2lang'}: unknown language {unknown[0]!r}; {hint}; or add it to languages.tsv")
        prompts = np.array([lengths[code] for code in languages.dictionary.to_pylist()], dtype=np.int32)
        num_tokens = self._count_tokens(block["text"].to_pylist())
        speech = np.array([num_positions(count) for count in block["num_samples"].to_pylist()], dtype=np.int32)
        positions = prompts[languages.indices.to_numpy()] + speech + num_tokens
        counted = {"num_tokens": pa.array(num_tokens), "positions": pa.array(positions)}
        same = {name: block[name] for name in ("language", "audio", "text", "num_samples", "repeat")}
        return pa.record_batch({"utt_id": block["utt"], **same, **counted}).select(SCHEMA.names)

    def _count_tokens(self, texts: list[str]) -> np.ndarray:
        """Count the tokens of each transcript, including its end token."""
        from zipperasr.model.prompt import batch_transcript_ids

        counts = []
        for start in range(0, len(texts), TOKENIZER_BLOCK):
            counts += map(len, batch_transcript_ids(self._tokenizer, texts[start : start + TOKENIZER_BLOCK]))
        return np.array(counts, dtype=np.int32)


def _write_all(raw: Path, out: Path, rows: list[SetRow], counter: RowCounter, nj: int) -> ClipCounts:
    """Write the manifest of each set. Raises ValueError on a malformed table."""
    num_utts = [count_lines(raw / row.set / "utt2spk") for row in rows]
    counts, num_blocks = ClipCounts(), sum(num_utts) // BLOCK_ROWS  # fewer are not worth starting processes
    with (
        processes(min(nj, num_blocks), counter) as count_all,
        tqdm(total=sum(num_utts), desc="manifests", unit="utt", mininterval=2) as progress,
    ):
        blocks = ((row, raw / row.set, block) for row in rows for block in read_blocks(raw / row.set, BLOCK_ROWS))
        for row, counted in groupby(count_all(blocks), key=itemgetter(0)):
            with pa.OSFile(f"{out}/{row.set}.arrow", "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
                for _, block, of_block in counted:
                    writer.write_batch(block)
                    counts += of_block
                    progress.update(len(block))
    for row in rows:
        if not (out / f"{row.set}.arrow").is_file():
            raise ValueError(f"{raw / row.set}: no utterances; rerun stage 2, or remove the set from {raw}/sets.tsv")
    return counts


def packing_report(manifests: list[Manifest], max_positions: int, nj: int) -> dict:
    """Return fill rate and number of packs of the first epoch, and the number of utterances too long for a pack."""
    packs = pack_epoch(manifests, max_positions, seed=0, epoch=0, num_processes=nj)
    too_long = sum(int((manifest.positions > max_positions).sum()) for manifest in manifests)
    return {
        "packs": len(packs),
        "utterances": int(packs.num_utts.sum()),
        "fill": round(fill(packs, max_positions), 4),
        "max_positions": max_positions,
        "too_long": too_long,
    }
