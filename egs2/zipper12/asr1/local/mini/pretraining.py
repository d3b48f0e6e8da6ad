"""Train the mini backbones, phase by phase; interrupted phases resume.

In: conf/mini/backbones.yaml. Out: a directory with both models, their logs, a record and checksums. Until both are
finished, everything is in <out>.training: one directory per phase, with the state of the unfinished one.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from zipperasr.atomic import FINGERPRINT, SIZES, atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.config import from_tree
from zipperasr.languages import Language, LanguageTable

PARTS = ("llm", "whisper")
CHECKSUMS = "SHA256SUMS"
MEMORY_SETTINGS = {  # keep freed memory; returning it to the kernel after each step takes up to half of the time
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


@dataclass(frozen=True)
class BackboneConfig:
    """conf/mini/backbones.yaml."""

    utterances: dict = field(default_factory=dict)  # language code -> pretraining utterances
    texts: int = 4000  # sentences of each language for the LLM, and as many lines of word salad
    whisper: tuple[dict, ...] = ({},)  # overrides of WhisperSize, one for each phase of its training
    llm: tuple[dict, ...] = ({},)  # overrides of LlmSize, likewise
    llm_only: dict = field(default_factory=dict)  # code -> prompt of languages that Whisper does not learn
    seed: int = 1


@dataclass(frozen=True)
class Job:
    """The input of a process that trains one of PARTS."""

    part: str
    config: BackboneConfig
    table: LanguageTable
    held_out: dict[str, set[str]]
    folder: Path  # of the part's phases
    start: Path | None  # the part's finished model that the last phase starts from; None: train all phases
    threads: int

    @property
    def phases(self) -> tuple[dict, ...]:
        return getattr(self.config, self.part)

    @property
    def last_folder(self) -> Path:
        return self.folder / f"phase{len(self.phases)}"

    def inputs(self, number: int) -> dict[str, str]:
        """Return the fingerprint of everything that the model of phase `number` depends on."""
        config = self.config
        return fingerprint(
            phases=self.phases[:number],
            data=[config.texts, config.utterances, config.llm_only, self.table.codes],
            seed=config.seed,
            start=self.start and sha256(self.start / "model.safetensors"),
        )

    def is_finished(self, number: int) -> bool:
        return is_current(self.folder / f"phase{number}", self.inputs(number))


def train(
    config: BackboneConfig,
    table: LanguageTable,
    held_out: dict[str, set[str]],
    out: Path,
    nj: int,
    start: Path | None = None,
    parts: tuple[str, ...] = PARTS,
) -> None:
    """Train `parts` in parallel processes; once both are trained, write them to `out` with checksums.

    start: backbones to run the last phase of each part on, instead of all phases from scratch; a part that is not in
    `parts` is copied from there.
    """
    work = out.with_name(f"{out.name}.training")
    threads = max(1, nj // len(parts))
    os.environ.update(MEMORY_SETTINGS)
    jobs = {part: Job(part, config, table, held_out, work / part, start and start / part, threads) for part in PARTS}
    with ProcessPoolExecutor(len(parts), get_context("spawn")) as pool:
        for training in [pool.submit(TRAINERS[part], jobs[part]) for part in parts]:
            training.result()
    finished = {part: job.last_folder for part, job in jobs.items() if job.is_finished(len(job.phases))}
    if start:
        finished = {part: start / part for part in PARTS if part not in parts} | finished
    missing = [part for part in PARTS if part not in finished]
    if missing:
        log(f"backbones: {', '.join(missing)} not trained yet; the rest is in {work}")
        return
    with atomic_path(out) as temporary:
        for part, folder in finished.items():
            shutil.copytree(folder, temporary / part, ignore=shutil.ignore_patterns(FINGERPRINT, SIZES))
        _write_record(temporary, config, start, parts)
    shutil.rmtree(work)
    log(f"backbones: trained {out}")


def _train_llm(job: Job) -> None:
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    from local.mini import evaluate_backbones, pretrain_llm, pretraining_data, reading, tokenizers

    torch.set_num_threads(job.threads)
    config = job.config
    more = [Language(code, "", code, "wer", "whisper", prompt) for code, prompt in config.llm_only.items()]
    table = LanguageTable([*job.table, *more])
    counts = dict.fromkeys(table.codes, config.texts)
    texts = pretraining_data.pronounce(pretraining_data.sentences(counts, config.seed + 1, job.held_out))
    salad = pretraining_data.pronounce(pretraining_data.word_salad(counts, config.seed, job.held_out))
    for number, target, previous in _phases(job):
        size = from_tree(pretrain_llm.LlmSize, config.llm[number - 1], "llm")
        seed = config.seed + number - 1
        if previous:
            tokenizer = AutoTokenizer.from_pretrained(previous)
            model = Qwen3ForCausalLM.from_pretrained(previous, dtype=torch.float32)
        else:
            lines = [line for chosen in (*texts.values(), *salad.values()) for line in chosen]
            ipa = sorted({letter for line in lines for phoneme in line.phonemes for letter in phoneme})
            prompts = [language.prompt for language in table]
            tokenizer = tokenizers.train_llm_tokenizer([line.text for line in lines], size.pieces, prompts, ipa)
            torch.manual_seed(seed)
            model = pretrain_llm.build(size, tokenizer)
        reader = reading.Reader(texts, salad, tokenizer, table, size, seed)
        test = evaluate_backbones.ReadingTest(tokenizer, job.table)
        pretrain_llm.train(model, reader, seed, target, test, number)


def _train_whisper(job: Job) -> None:
    from local.mini import evaluate_backbones, pretrain_whisper, pretraining_data, tokenizers

    torch.set_num_threads(job.threads)
    config = job.config
    phases = [from_tree(pretrain_whisper.WhisperSize, phase, "whisper") for phase in config.whisper]
    size = phases[0]
    tokens = {language.code: language.whisper_token for language in job.table}
    spoken = pretraining_data.sentences(
        {code: config.utterances[code] for code in job.table.codes}, config.seed, job.held_out
    )
    nj = 2 * job.threads
    utterances, test = None, None
    for number, target, previous in _phases(job):
        if previous:
            tokenizer = pretrain_whisper.load_tokenizer(previous)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                salad = pretraining_data.word_salad(dict.fromkeys(spoken, config.texts), config.seed, job.held_out)
                corpus = [line.written for chosen in (*spoken.values(), *salad.values()) for line in chosen]
                tokenizer = tokenizers.train_whisper_tokenizer(corpus, size.pieces, tokens.values(), Path(scratch))
        if test is None:
            utterances = _spoken_once(job.folder / "speech", spoken, config.seed, size.mel_bins, nj)
            test = evaluate_backbones.HearingTest(tokenizer, job.table, size.mel_bins, nj)
        phase, seed = phases[number - 1], config.seed + number - 1
        pretrain_whisper.train(utterances, tokenizer, tokens, phase, seed, target, number, previous, test.in_training)


TRAINERS = {"llm": _train_llm, "whisper": _train_whisper}


def _phases(job: Job) -> Iterator[tuple[int, Path, Path | None]]:
    """Yield (number, directory, directory of the previous phase or None) of each unfinished phase."""
    previous = job.start
    for number in range(len(job.phases) if job.start else 1, len(job.phases) + 1):
        target = job.folder / f"phase{number}"
        if not job.is_finished(number):
            target.mkdir(parents=True, exist_ok=True)
            for path in previous.glob("training*.jsonl") if previous else ():
                shutil.copyfile(path, target / path.name)
            yield number, target, previous
            mark_current(target, job.inputs(number))
        previous = target


def _spoken_once(folder: Path, spoken: dict, seed: int, mel_bins: int, nj: int) -> list:
    """Return the speech; synthesise it at the first call only."""
    from local.mini import pretraining_data

    texts = {language: [sentence.spoken for sentence in chosen] for language, chosen in spoken.items()}
    inputs = fingerprint(texts=texts, seed=seed, mel_bins=mel_bins)
    if not is_current(folder, inputs):
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            utterances = pretraining_data.speak_all(spoken, seed, mel_bins, nj)
            with (temporary / "utterances.pkl").open("wb") as stream:
                pickle.dump(utterances, stream, protocol=5)
            mark_current(temporary, inputs)
    with (folder / "utterances.pkl").open("rb") as stream:
        return pickle.load(stream)  # noqa: S301 - scratch that this pretraining wrote itself


def _write_record(out: Path, config: BackboneConfig, start: Path | None, parts: tuple[str, ...]) -> None:
    import transformers

    options = f" --start START --parts {' '.join(parts)}" if start else ""
    record = {
        "command": f"python -m local.mini.backbones --train --out OUT --nj 2{options}",
        "config": asdict(config),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if start:  # only the last phases were trained; the record of the start describes the others
        record["start"] = {
            "checksums": sha256(start / CHECKSUMS),
            "record": json.loads((start / "record.json").read_text(encoding="utf-8")),
        }
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{sha256(path)}  {path.relative_to(out).as_posix()}\n" for path in files]
    (out / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
