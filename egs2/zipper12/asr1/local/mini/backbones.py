"""The mini backbones: unpack the shipped ones, or train them anew.

In: local/mini/weights (shipped) or synthetic speech and texts (--train). Out: <out>/whisper and <out>/llm, two
directories that transformers loads by from_pretrained, as it would load a hub's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log, parser, run_step
from zipperasr.config import from_tree, load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.sole_writer import sole_writer

SHIPPED = Path(__file__).parent / "weights"
CHECKSUMS = "SHA256SUMS"
MEMORY_SETTINGS = {  # keep freed memory: returning it to the kernel after each step costs up to half of the time
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


@dataclass(frozen=True)
class BackboneConfig:
    """conf/mini/backbones.yaml."""

    utterances: dict = field(default_factory=dict)  # language code -> pretraining utterances
    texts: int = 4000  # sentences for the LLM of the language most heard; of the others in proportion
    whisper: tuple[dict, ...] = ({},)  # overrides of WhisperSize, one for each phase of its training
    llm: dict = field(default_factory=dict)  # overrides of LlmSize
    seed: int = 1


def install(out: Path, shipped: Path = SHIPPED) -> None:
    """Copy the shipped backbones to `out`, checked against their checksums.

    Raises FileNotFoundError if they are not there, ValueError naming a damaged file.
    """
    sums = shipped / CHECKSUMS
    if not sums.is_file():
        raise FileNotFoundError(f"{sums}: no shipped backbones; make them with --train_backbones true")
    inputs = fingerprint(sums=sums)
    if is_current(out, inputs):
        log(f"backbones: {out} is up to date")
        return
    with sole_writer(out), atomic_path(out) as temporary:
        for line in sums.read_text(encoding="utf-8").splitlines():
            digest, name = line.split(maxsplit=1)
            source = shipped / name
            if not source.is_file() or _sha256(source) != digest:
                raise ValueError(f"{source}: missing or damaged; restore it from the repository")
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary / name)
        files = [str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file()]
        mark_current(temporary, inputs, files)
    log(f"backbones: {shipped} -> {out}")


def train(config: BackboneConfig, table: LanguageTable, held_out: dict[str, set[str]], out: Path, nj: int) -> None:
    """Train both from scratch, side by side in two processes, and write them to `out` with checksums."""
    from local.mini import pretraining_data

    counts = {language.code: config.utterances[language.code] for language in table}
    spoken = pretraining_data.sentences(counts, config.seed, held_out)
    read = {code: config.texts * count // max(counts.values()) for code, count in counts.items()}
    texts = pretraining_data.pronounce(pretraining_data.sentences(read, config.seed + 1, held_out))
    salad = pretraining_data.pronounce(pretraining_data.word_salad(read, config.seed, held_out))
    threads = max(1, nj // 2)
    os.environ.update(MEMORY_SETTINGS)
    with sole_writer(out), atomic_path(out) as temporary, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        llm = pool.submit(_train_llm, config, table, texts, salad, temporary / "llm", threads)
        corpus = [line.text for chosen in (*texts.values(), *salad.values()) for line in chosen]
        whisper = pool.submit(_train_whisper, config, table, corpus, spoken, temporary / "whisper", threads)
        for job in (llm, whisper):
            job.result()
        _write_record(temporary, config)
    log(f"backbones: trained {out}")


def _train_llm(config: BackboneConfig, table: LanguageTable, texts: dict, salad: dict, out: Path, threads: int) -> None:
    from local.mini import pretrain_llm, tokenizers

    torch.set_num_threads(threads)
    size = from_tree(pretrain_llm.LlmSize, config.llm, "llm")
    lines = [line for chosen in (*texts.values(), *salad.values()) for line in chosen]
    ipa = sorted({letter for line in lines for phoneme in line.phonemes for letter in phoneme})
    prompts = [language.prompt for language in table]
    tokenizer = tokenizers.train_llm_tokenizer([line.text for line in lines], size.pieces, prompts, ipa)
    pretrain_llm.train(texts, salad, tokenizer, table, size, config.seed, out)


def _train_whisper(
    config: BackboneConfig, table: LanguageTable, corpus: list[str], spoken: dict, out: Path, threads: int
) -> None:
    from local.mini import pretrain_whisper, pretraining_data, tokenizers

    torch.set_num_threads(threads)
    phases = [from_tree(pretrain_whisper.WhisperSize, phase, "whisper") for phase in config.whisper]
    size = phases[0]
    tokens = {language.code: language.whisper_token for language in table}
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = tokenizers.train_whisper_tokenizer(corpus, size.pieces, tokens.values(), Path(scratch))
    utterances = pretraining_data.speak_all(spoken, config.seed, size.mel_bins, 2 * threads)
    for number, phase in enumerate(phases, 1):
        pretrain_whisper.train(utterances, tokenizer, tokens, phase, config.seed + number - 1, out, number)


def _write_record(out: Path, config: BackboneConfig) -> None:
    import transformers

    record = {
        "command": "python -m local.mini.backbones --train --out OUT --nj 2",
        "config": asdict(config),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(out).as_posix()}\n" for path in files]
    (out / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=Path("exp/backbones"), help="where the two models go")
    options.add_argument("--train", action="store_true", help="train anew instead of copying the shipped ones")
    options.add_argument("--config", type=Path, default=Path("conf/mini/backbones.yaml"), help="sizes and schedules")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis, threads for training")
    return run_step(_run, options.parse_args(argv), "local.mini.backbones")


def _run(options: argparse.Namespace) -> None:
    if not options.train:
        install(options.out)
        return
    from local.mini.corpora import held_out_texts

    config = load_yaml(BackboneConfig, options.config)
    train(config, LanguageTable.load(options.languages), held_out_texts(), options.out, options.nj)


if __name__ == "__main__":
    sys.exit(main())
