"""A small matrix on disk: systems whose true error rates are known, in both regimes and settings, three seeds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.report.example import CODES
from zipperasr.decode.encoder_means import FILE, write_means
from zipperasr.score.scores_table import SetScore, write_scores

UTTS, UNITS = 60, 10  # of a test set, of an utterance
SOURCE = {"en": "msr86k", "fr": "msr86k", "th": "msr86k", "zh": "wenetspeech"}
SMALL = ("ar", "ja", "ko", "pt")
SEEDS = (1, 2, 3)


def write_model(exp: Path, name: str, rate: float, regime: str, small: float | None = None, separation: float = 1.0):
    """exp/name: decodings with errors drawn at `rate` (small languages at `small`), embeddings, a dev loss.

    An utterance is as hard in every system, as in life: its number of errors comes from its own uniform draw.
    """
    directory = exp / name
    decoded = directory / f"decode_greedy_{regime}"
    scores = []
    for corpus, phase, code in _sets(name):
        test_set = f"test_{corpus}_{code}"
        of_set = rate if code not in SMALL or small is None else small
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
        normaliser = "whisper_en" if code == "en" else "whisper"  # as the language table says
        scores.append(SetScore(**what, normaliser=normaliser, **counts, **listed, **zeros, **rates, **interval))
        write_means(place.parent / FILE, _means(test_set, code, separation))
    write_scores(decoded / "scores.tsv", scores)


def write_losses(exp: Path, name: str, losses: Mapping[int, float]):
    """exp/name/{train,dev}.jsonl."""
    dev = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in losses.items())
    (exp / name / "dev.jsonl").write_text(dev, encoding="utf-8")
    (exp / name / "train.jsonl").write_text(dev, encoding="utf-8")


def _sets(name: str):
    yield from ((corpus, "align", code) for code, corpus in SOURCE.items())
    if not name.startswith("align"):
        yield from (("mls", "sft", code) for code in CODES if code != "zh")


def _errors(test_set: str, name: str, rate: float) -> list[int]:
    hardness = np.random.default_rng(zlib.crc32(test_set.encode())).normal(0, 0.05, UTTS)
    noise = np.random.default_rng(zlib.crc32(f"{test_set} {name}".encode())).normal(0, 0.02, UTTS)
    return [int(k) for k in np.clip(np.rint(UNITS * (rate + hardness + noise)), 0, UNITS)]


def _means(test_set: str, code: str, separation: float) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(zlib.crc32(test_set.encode()))
    centre = separation * np.eye(len(CODES))[CODES.index(code)]
    return {f"u{n:02d}": (centre + generator.normal(0, 0.3, len(CODES))).astype(np.float32) for n in range(20)}
