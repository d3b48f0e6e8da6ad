"""Stage 3: one memory-mapped table per data set, with everything that packing must know.

In: dump/raw/<set> (Kaldi files), the LLM's tokenizer. Out: dump/manifest/<set>.arrow, packing.json with the fill of
the first epoch. Loader workers share the mapped pages; no worker holds a copy.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log, nearest, parser, run_step
from zipperasr.config import load_yaml
from zipperasr.data.packing import fill, pack_epoch
from zipperasr.data.sets import read_sets
from zipperasr.languages import LanguageTable
from zipperasr.model.build import load_tokenizer
from zipperasr.model.config import ModelConfig
from zipperasr.model.prompt import prompt_ids
from zipperasr.model.segments import num_positions

_FILES = ("text", "wav.scp", "utt2lang", "utt2num_samples", "utt2repeat")
_TOKENIZER_BLOCK = 4096


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


def build_manifest(raw: Path, tokenizer, prompt_lengths: dict[str, int]) -> pa.Table:
    """Read one data directory of stage 2 and count its tokens."""
    columns = {name: _read_pairs(raw / name) for name in _FILES if (raw / name).is_file() or name != "utt2repeat"}
    utt_ids = list(columns["text"])
    for name, values in columns.items():
        if list(values) != utt_ids:
            other = next(iter(set(values) ^ set(utt_ids)), "the order")
            raise ValueError(f"{raw / name}: does not go with {raw / 'text'}: {other!r} differs; rerun stage 2")
    texts = list(columns["text"].values())
    num_samples = np.array([int(value) for value in columns["utt2num_samples"].values()], dtype=np.int64)
    languages = list(columns["utt2lang"].values())
    num_tokens = _count_tokens(texts, tokenizer)
    unknown = sorted(set(languages) - prompt_lengths.keys())
    if unknown:
        hint = nearest(unknown[0], list(prompt_lengths))
        raise ValueError(f"{raw / 'utt2lang'}: unknown language {unknown[0]!r}; {hint}; or add its line to the table")
    prompts = np.array([prompt_lengths[code] for code in languages], dtype=np.int32)
    speech = np.array([num_positions(int(count)) for count in num_samples], dtype=np.int32)
    repeats = columns.get("utt2repeat", dict.fromkeys(utt_ids, "1"))
    return pa.table(
        {
            "utt_id": utt_ids,
            "language": languages,
            "audio": list(columns["wav.scp"].values()),
            "text": texts,
            "num_samples": num_samples,
            "num_tokens": num_tokens,
            "repeat": np.array([int(value) for value in repeats.values()], dtype=np.int32),
            "positions": prompts + speech + num_tokens,
        }
    )


def _count_tokens(texts: list[str], tokenizer) -> np.ndarray:
    counts = []
    for start in range(0, len(texts), _TOKENIZER_BLOCK):
        block = tokenizer(texts[start : start + _TOKENIZER_BLOCK], add_special_tokens=False)["input_ids"]
        counts += [len(ids) + 1 for ids in block]  # one more for the end token
    return np.array(counts, dtype=np.int32)


def _read_pairs(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; run stage 2")
    pairs = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            key, _, value = line.rstrip("\n").partition(" ")
            if not key or key in pairs:
                raise ValueError(f"{path}:{number}: got id {key!r}, wanted a new, non-empty id; rerun stage 2")
            pairs[key] = value
    return pairs


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


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="stage 2's data directories")
    options.add_argument("--out", type=Path, default=Path("dump/manifest"), help="where the manifests go")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--model", type=Path, required=True, help="model.yaml: names the tokenizer, bounds the packs")
    return run_step(_run, options.parse_args(argv), "zipperasr.data.manifest")


def _run(options: argparse.Namespace) -> None:
    config = load_yaml(ModelConfig, options.model)
    table = LanguageTable.load(options.languages)
    rows = read_sets(options.raw / "sets.tsv")
    sources = {f"{row.set}/{name}": options.raw / row.set / name for row in rows for name in _FILES}
    inputs = fingerprint(
        model=options.model,
        tokenizer=Path(config.llm) / "tokenizer.json",
        languages=options.languages,
        sets=options.raw / "sets.tsv",
        **sources,
    )
    if is_current(options.out, inputs):
        log(f"{options.out} is up to date")
        return
    tokenizer = load_tokenizer(config)
    prompts = {language.code: len(prompt_ids(tokenizer, language)) for language in table}
    with atomic_path(options.out) as temporary:
        temporary.mkdir()
        for row in tqdm(rows, desc="manifests", mininterval=2):
            table_ = build_manifest(options.raw / row.set, tokenizer, prompts)
            feather.write_feather(table_, temporary / f"{row.set}.arrow", compression="uncompressed")
        (temporary / "sets.tsv").write_bytes((options.raw / "sets.tsv").read_bytes())
        report = {
            phase: packing_report(open_kind(temporary, "train", phase), config.max_positions)
            for phase in sorted({row.phase for row in rows if row.kind == "train"})
        }
        (temporary / "packing.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        mark_current(temporary, inputs)
    for phase, facts in report.items():
        log(f"{phase}: {facts['utterances']} utterances in {facts['packs']} packs, fill {facts['fill']:.1%}")
        if facts["too_long"]:
            log(f"{phase}: {facts['too_long']} utterances exceed {config.max_positions} positions: not trained on")


if __name__ == "__main__":
    sys.exit(main())
