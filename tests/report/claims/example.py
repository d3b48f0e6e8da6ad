"""A small matrix on disk: systems whose true error rates are known, in both regimes and settings, three seeds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.report.example import CODES
from zipperasr.decode.encoder_means import FILE, write_means
from zipperasr.run_record import DecodingRun, TrainingRun, save_run
from zipperasr.score.scores_table import SetScore, write_scores

UTTS, UNITS = 60, 10  # utterances per test set, reference units per utterance
SOURCE = {"en": "msr86k", "fr": "msr86k", "th": "msr86k", "zh": "wenetspeech"}
LOW = ("ar", "ja", "ko", "pt")
SEEDS = (1, 2, 3)


def write_model(exp: Path, run: TrainingRun, rate: float, low: float | None = None, separation: float = 1.0) -> Path:
    """Write a directory below `exp`: decodings with error rate `rate` (low-resource: `low`), embeddings.

    Part of the number of errors depends only on the utterance, so that it is equally hard for every system.
    """
    name = "_".join(filter(None, [run.phase, run.lora, run.regime, run.setting, run.tag, f"seed{run.seed}"]))
    directory = exp / name
    decoded = directory / f"decode_greedy_{run.regime}"
    scores = []
    for corpus, phase, code in _sets(run):
        test_set = f"test_{corpus}_{code}"
        of_set = rate if code not in LOW or low is None else low
        errors = _errors(test_set, name, of_set)
        place = decoded / test_set / "score_wer"
        place.mkdir(parents=True)
        common = {"speaker": "s", "reference": ["a"] * UNITS}
        lines = [{"id": f"u{n:02d}", **common, "operations": "S" * k + "C" * (UNITS - k)} for n, k in enumerate(errors)]
        (place / "audit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        counts = {"utts": UTTS, "ref_units": UTTS * UNITS, "errors": sum(errors), "substitutions": sum(errors)}
        listed = {"listed_utts": UTTS, "listed_ref_units": UTTS * UNITS, "listed_errors": sum(errors)}
        unseen = ("deletions", "insertions", "jiwer_errors", "empty", "emptied_refs", "loops", "bursts")
        zeros = dict.fromkeys((*unseen, "language_errors", "chat_replies"), 0)
        rates = dict.fromkeys(("rate", "listed_rate"), 100 * sum(errors) / (UTTS * UNITS))
        interval = {"low": 0.0, "high": 100.0, "resampled_by": "utterance", "speakers": 1}
        what = {"set": test_set, "phase": phase, "corpus": corpus, "language": code, "unit": "wer"}
        normaliser = "whisper_en" if code == "en" else "whisper"  # as in the language table
        scores.append(SetScore(**what, normaliser=normaliser, **counts, **listed, **zeros, **rates, **interval))
        write_means(place.parent / FILE, _means(test_set, code, separation))
    write_scores(decoded / "scores.tsv", scores)
    save_run(DecodingRun("greedy", run.regime), decoded)
    save_run(run, directory)
    return directory


def write_losses(directory: Path, losses: Mapping[int, float]) -> None:
    """Write {train,dev}.jsonl of a training."""
    dev = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in losses.items())
    (directory / "dev.jsonl").write_text(dev, encoding="utf-8")
    (directory / "train.jsonl").write_text(dev, encoding="utf-8")


def _sets(run: TrainingRun):
    yield from ((corpus, "align", code) for code, corpus in SOURCE.items())
    if run.phase != "align":
        yield from (("mls", "sft", code) for code in CODES if code != "zh")


def _errors(test_set: str, name: str, rate: float) -> list[int]:
    hardness = np.random.default_rng(zlib.crc32(test_set.encode())).normal(0, 0.05, UTTS)
    noise = np.random.default_rng(zlib.crc32(f"{test_set} {name}".encode())).normal(0, 0.02, UTTS)
    return [int(k) for k in np.clip(np.rint(UNITS * (rate + hardness + noise)), 0, UNITS)]


def _means(test_set: str, code: str, separation: float) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(zlib.crc32(test_set.encode()))
    centre = separation * np.eye(len(CODES))[CODES.index(code)]
    return {f"u{n:02d}": (centre + generator.normal(0, 0.3, len(CODES))).astype(np.float32) for n in range(20)}
