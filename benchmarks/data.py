"""Stages 1 and 3 and packing at the size of the paper's corpora, with one process and two, and ESPnet's text files.

Input: none; data is generated in a temporary directory. Output: a section of RESULTS.md. Each part runs in a separate
process, so that its peak memory includes nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from record import write_section
from shared_options import add_results

from zipperasr.cli import parser, run_step
from zipperasr.markdown import table

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
MAX_POSITIONS = 2048
UTTS_OF_A_SPEAKER = 200
WORKERS = 4
WORDS = ("und", "der", "die", "das", "nicht", "haus", "garten", "stunde", "wieder", "abend", "langsam", "gegangen")
COLUMNS = "phase corpus language setting train_split train_hours dev_split test_splits test_hours train_list test_list"
LANGUAGES = {"de": "german", "fr": "french"}
ROW = "sft mls {} both train 1 - test 1 {}.txt -"


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--corpus_utts", type=int, default=1_000_000, help="number of utterances for stage 1")
    options.add_argument("--manifest_rows", type=int, default=10_000_000, help="number of manifest rows to pack")
    options.add_argument("--dir", type=Path, default=None, help="working directory; default: a temporary one")
    options.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # what a child process measures
    add_results(options)
    chosen = options.parse_args(argv)
    if chosen.part:
        print(json.dumps(_measured(chosen.part, chosen.dir)))
        return 0
    return run_step(_run, chosen, "benchmarks.data")


def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        base = Path(name)
        make_corpus(base, options.corpus_utts)
        write_manifest(base / "manifest", options.manifest_rows)
        found = {}
        make_jsonl(base)
        for part in PARTS:
            if part == "stage_3":
                make_raw(base)
            found[part] = _in_a_process(part, base)
    sizes = dict.fromkeys(("manifest", "espnet_text", "packs", "packs_by_2"), options.manifest_rows)
    rows = [
        [
            WHAT[part],
            f"{sizes.get(part, options.corpus_utts):,}",
            f"{figures['seconds']:.1f}",
            f"{figures['peak_mb']:.0f}",
            figures["note"],
        ]
        for part, figures in found.items()
    ]
    write_section("Data at scale", table(["task", "utterances", "s", "peak MB", ""], rows), options.results)


def make_corpus(base: Path, num_utts: int) -> None:
    """Write a corpus in the layout of MLS: metadata, empty audio files, and lists of all training ids."""
    for code, name in LANGUAGES.items():
        folder = base / "mls" / f"mls_{name}"
        with (base / f"{code}.txt").open("w") as ids:
            ids.writelines(f"{utt_id}\n" for utt_id in _write_split(folder / "train", 100_000, num_utts // 2))
        list(_write_split(folder / "test", 900_000, 10))
    lines = (COLUMNS, *(ROW.format(code, code) for code in LANGUAGES))
    (base / "datasets.tsv").write_text("\n".join("\t".join(line.split()) for line in lines) + "\n")
    (base / "corpora.yaml").write_text(f"roots: {{mls: {base}/mls}}\nutt_ids: {base}\ntable_hours: false\n")


def _write_split(folder: Path, first_speaker: int, num_utts: int) -> Iterator[str]:
    rng = random.Random(first_speaker)
    folder.mkdir(parents=True)
    with (folder / "transcripts.txt").open("w") as texts, (folder / "segments.txt").open("w") as segments:
        for number in range(num_utts):
            speaker = first_speaker + number // UTTS_OF_A_SPEAKER
            utt_id = f"{speaker}_20000_{number:07d}"
            book = folder / "audio" / str(speaker) / "20000"
            if number % UTTS_OF_A_SPEAKER == 0:
                book.mkdir(parents=True)
            (book / f"{utt_id}.flac").touch()
            texts.write(f"{utt_id}\t{' '.join(rng.choices(WORDS, k=30))}\n")
            segments.write(f"{utt_id}\thttp://archive.org/20000_64kb.mp3\t0.00\t{rng.uniform(10, 20):.2f}\n")
            yield utt_id


def write_manifest(directory: Path, num_rows: int, block: int = 500_000) -> None:
    """Write a manifest like stage 3's with durations as in MLS (10 to 20 s, mean 15 s), and its rows as Kaldi files."""
    from zipperasr.batching.manifest import SCHEMA

    directory.mkdir()
    generator = np.random.default_rng(0)
    with (
        pa.OSFile(str(directory / "train.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
        (directory / "text").open("w") as text,
        (directory / "wav.scp").open("w") as wav_scp,
    ):
        for start in range(0, num_rows, block):
            count = min(block, num_rows - start)
            seconds = np.clip(generator.normal(15, 3, count), 10, 20)
            tokens = (generator.normal(3.6, 0.5, count) * seconds).astype(np.int32)
            ids = [f"{number // UTTS_OF_A_SPEAKER:06d}-{number:08d}" for number in range(start, start + count)]
            columns = {
                "utt_id": ids,
                "language": ["de"] * count,
                "audio": [f"dump/raw/train_mls_de/data/format.{n // 512}.ark:{n}" for n in range(start, start + count)],
                "text": [" ".join(WORDS) + utt_id for utt_id in ids],
                "num_samples": (seconds * 16_000).astype(np.int64),
                "num_tokens": tokens,
                "repeat": np.ones(count, dtype=np.int32),
                "positions": (np.ceil(12.5 * seconds) + 20).astype(np.int32) + tokens,
            }
            writer.write_batch(pa.record_batch({name: pa.array(columns[name]) for name in SCHEMA.names}))
            text.writelines(map("{} {}\n".format, ids, columns["text"]))
            wav_scp.writelines(map("{} {}\n".format, ids, columns["audio"]))


def make_jsonl(base: Path) -> None:
    """List the utterances of both corpora in one manifest per split, without ids, and write the recipe's tables."""
    from zipperasr.corpora import read_corpus

    folder = base / "jsonl" / "own"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        with (folder / f"{split}.jsonl").open("w") as lines:
            for code in LANGUAGES:
                for utt in read_corpus("mls", base / "mls", code, split):
                    fields = {"audio_filepath": utt.audio, "duration": utt.duration_s, "text": utt.text, "lang": code}
                    lines.write(json.dumps({**fields, "speaker": utt.speaker}) + "\n")
    rows = (COLUMNS, *(f"sft own:jsonl {code} both train - - test 1 - -" for code in LANGUAGES))
    (base / "jsonl/datasets.tsv").write_text("\n".join("\t".join(row.split()) for row in rows) + "\n")
    (base / "jsonl/corpora.yaml").write_text(f"roots: {{own: {folder}}}\nutt_ids: none\ntable_hours: false\n")


def stage_1(base: Path, nj: int = 1) -> str:
    from zipperasr.stages import prepare_data

    tables = ["--datasets", str(base / "datasets.tsv"), "--languages", str(RECIPE / "conf" / "languages.tsv")]
    argv = [*tables, "--corpora", str(base / "corpora.yaml"), "--out", str(base / f"data_{nj}"), "--nj", str(nj)]
    if prepare_data.main(argv):
        raise SystemExit("stage 1 failed; see the error above")
    return ""


def stage_3(base: Path, nj: int = 1) -> str:
    """Count the tokens of stage 1's sets, as if stage 2 had converted their audio."""
    from zipperasr.stages import build_manifest

    argv = ["--raw", str(base / "data_1"), "--model", str(base / "model.yaml"), "--out", str(base / f"manifest_{nj}")]
    if build_manifest.main([*argv, "--languages", str(RECIPE / "conf" / "languages.tsv"), "--nj", str(nj)]):
        raise SystemExit("stage 3 failed; see the error above")
    return ""


def make_raw(base: Path) -> None:
    """Add the tables of stage 2 to the sets of stage 1, and Qwen3's tokenizer."""
    from zipperasr.model.published_tokenizers import write_qwen3_tokenizer

    for durations in base.glob("data_1/*/utt2dur"):
        with durations.open() as lines, (durations.parent / "utt2num_samples").open("w") as samples:
            pairs = (line.split() for line in lines)
            samples.writelines(f"{utt} {round(float(seconds) * 16_000)}\n" for utt, seconds in pairs)
    write_qwen3_tokenizer(base / "llm")
    config = json.loads((RECIPE / "conf/full/architectures/Qwen3-1.7B/config.json").read_text())
    (base / "llm" / "config.json").write_text(json.dumps({**config, "transformers_version": "5.17.0"}))
    (base / "model.yaml").write_text(f"whisper: none\nllm: {base / 'llm'}\n")


def espnet_text(base: Path) -> str:
    """ESPnet reads the same rows from Kaldi's text and wav.scp, of which every worker holds a copy."""
    from espnet2.fileio.read_text import read_2columns_text
    from espnet2.fileio.sound_scp import SoundScpReader

    directory = base / "manifest"
    start = time.perf_counter()
    texts = read_2columns_text(directory / "text")
    middle = time.perf_counter()
    reader = SoundScpReader(str(directory / "wav.scp"))
    assert len(texts) == len(reader)
    return f"text {middle - start:.1f} s, SoundScpReader {time.perf_counter() - middle:.1f} s"


def manifest(base: Path) -> str:
    """Open the manifest and read a row, then read random rows in worker processes."""
    from zipperasr.batching.manifest import Manifest

    start = time.perf_counter()
    opened = Manifest.open(base / "manifest", "train")
    opened.row(len(opened) // 2)
    seconds = time.perf_counter() - start
    with multiprocessing.get_context("fork").Pool(WORKERS, _share, (opened,)) as pool:
        private_mb = max(pool.map(_read_rows, range(WORKERS)))
    return f"open and first row {seconds:.2f} s; {private_mb:.0f} MB of private memory in each of {WORKERS} workers"


def _share(opened) -> None:
    global _opened
    _opened = opened


def _read_rows(seed: int, count: int = 5_000) -> float:
    """Private memory that reading rows adds to a worker, in MB; mapped pages of the file are shared."""
    before = _private_dirty_mb()
    for index in random.Random(seed).sample(range(len(_opened)), min(count, len(_opened))):
        _opened.row(index)
    return _private_dirty_mb() - before


def _private_dirty_mb() -> float:
    return sum(area.private_dirty for area in psutil.Process().memory_maps()) / 1e6


def packs(base: Path, num_processes: int = 1) -> str:
    from zipperasr.batching.manifest import Manifest
    from zipperasr.batching.packing import fill, pack_epoch

    manifests = [Manifest.open(base / "manifest", "train")]
    found = pack_epoch(manifests, MAX_POSITIONS, seed=0, epoch=0, num_processes=num_processes)
    return f"fill rate {100 * fill(found, MAX_POSITIONS):.2f} % of {MAX_POSITIONS} positions"


PARTS: dict[str, Callable[[Path], str]] = {
    "stage_1": stage_1,
    "stage_1_by_2": partial(stage_1, nj=2),
    "stage_1_jsonl": lambda base: stage_1(base / "jsonl"),
    "stage_1_jsonl_by_2": lambda base: stage_1(base / "jsonl", nj=2),
    "stage_3": stage_3,
    "stage_3_by_2": partial(stage_3, nj=2),
    "manifest": manifest,
    "espnet_text": espnet_text,
    "packs": packs,
    "packs_by_2": partial(packs, num_processes=2),
}
IMPORTS = {
    "stage_1": ["zipperasr.stages.prepare_data"],
    "stage_1_jsonl": ["zipperasr.stages.prepare_data"],
    "stage_3": ["zipperasr.stages.build_manifest", "zipperasr.batching.build_manifests", "transformers"],
    "manifest": ["zipperasr.stages.build_manifest"],
    "espnet_text": ["espnet2.fileio.read_text", "espnet2.fileio.sound_scp"],
    "packs": ["zipperasr.batching.packing"],
}
BY_2 = "the same with 2 processes; memory of the one that writes"
WHAT = {
    "stage_1": "stage 1 on two MLS corpora with utterance lists",
    "stage_1_by_2": BY_2,
    "stage_1_jsonl": "stage 1 on one JSONL manifest in two languages, without ids",
    "stage_1_jsonl_by_2": BY_2,
    "stage_3": "stage 3 on these sets",
    "stage_3_by_2": BY_2,
    "manifest": "open a manifest",
    "espnet_text": "ESPnet: read the same rows from text files",
    "packs": "pack an epoch",
    "packs_by_2": BY_2,
}


def _measured(part: str, base: Path) -> dict:
    for module in IMPORTS.get(part.removesuffix("_by_2"), ()):  # before the clock starts: imports are not measured
        importlib.import_module(module)
    start = time.perf_counter()
    note = PARTS[part](base)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": _peak_mb(), "note": note}


def _peak_mb() -> float:
    """Peak memory of this process; getrusage would include its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def _in_a_process(part: str, base: Path) -> dict:
    command = [sys.executable, __file__, "--part", part, "--dir", str(base)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}  # as in the recipe
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise ValueError(f"{part}: exit status {done.returncode}; see the error above")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
