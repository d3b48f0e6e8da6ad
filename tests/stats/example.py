"""Systems with random errors on a random test set, and the report of NIST's sc_stats for them."""

from __future__ import annotations

import json
import random
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

from tests.score.example import write_trn
from zipperasr.score.sclite.align import align_all
from zipperasr.score.test_set import ScoredUtterance
from zipperasr.stats.utterance_errors import Audit, read_audit

SCTK = Path("/usr/lib/sctk/bin")
ABBREVIATIONS = {"MP": "mapsswe", "SI": "sign", "WI": "wilcoxon", "MN": "mcnemar"}
WORDS = ["ba", "de", "мир", "ngủ", "สาม", "fo", "gu", "hi"]
Verdicts = dict[tuple[str, str, str], tuple[str, float]]


def draw_systems(
    seed: int, num_systems: int, num_speakers: int = 6, per_speaker: int = 10
) -> dict[str, list[ScoredUtterance]]:
    """Error rates rise to a third; the last system equals the first, the one before has one additional error.

    Some references and hypotheses are empty. No system is perfect: sc_stats crashes if neither of two has errors.
    """
    rng = random.Random(seed)
    ids = [(f"s{speaker:04d}", utt) for speaker in range(num_speakers) for utt in range(per_speaker)]
    references = [[rng.choice(WORDS) for _ in range(rng.choice([0, 2, 5, 9, 14]))] for _ in ids]
    hypotheses = [
        [_misheard(reference, rng, 0.33 * (system + 1) / num_systems) for reference in references]
        for system in range(num_systems - 2)
    ]
    worse = [list(words) for words in hypotheses[0]]
    worse[0].append("hi")
    hypotheses += [worse, hypotheses[0]]
    return {f"sys{n}": _scored(ids, references, texts) for n, texts in enumerate(hypotheses)}


def write_audit(directory: Path, utterances: list[ScoredUtterance]) -> Path:
    """Write an audit as stage 8 does."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(utterance), ensure_ascii=False) + "\n" for utterance in utterances]
    (directory / "audit.jsonl").write_text("".join(lines), encoding="utf-8")
    return directory / "audit.jsonl"


def audits(directory: Path, systems: dict[str, list[ScoredUtterance]]) -> dict[str, Audit]:
    return {name: read_audit(write_audit(directory / name, utts)) for name, utts in systems.items()}


def one_audit(directory: Path, operations: list[str], speakers: list[str] | None = None) -> Audit:
    """Write an audit with these operations; utterance n is from speakers[n] or, by default, one speaker."""
    utterances = []
    for n, ops in enumerate(operations):
        reference = ["a"] * (len(ops) - ops.count("I"))
        speaker = speakers[n] if speakers else "s"
        utterances.append(ScoredUtterance(f"u{n:04d}", speaker, 1, "", "", reference, [], ops))
    return read_audit(write_audit(directory, utterances))


def run_sc_stats(directory: Path, systems: dict[str, list[ScoredUtterance]]) -> str:
    """Run sclite on every system, then sc_stats' composite report on all pairs (it supports up to 14 systems)."""
    alignments = b""
    for name, utterances in systems.items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        write_trn(directory / name, utterances)
        files = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", name]
        argv = [SCTK / "sclite", *files, "-i", "rm", "-o", "sgml", "stdout"]
        alignments += subprocess.run(argv, cwd=directory / name, capture_output=True, check=True).stdout
    argv = [SCTK / "sc_stats", "-p", "-t", "std4", "-u", "-n", "-"]
    done = subprocess.run(
        argv, input=alignments, cwd=directory, capture_output=True, check=True
    )  # it writes files there
    return done.stdout.decode()


def read_report(report: str) -> Verdicts:
    """{(test, first system, second): (the better system or "same", p as printed)}."""
    rows = [
        [cell.strip() for cell in line.split("|") if cell]
        for line in report.splitlines()
        if re.match(r"\| +(Test|MP|SI|WI|MN) +\|\|", line)
    ]
    names = rows[0][2:-1]
    found: Verdicts = {}
    first = ""
    for abbreviation, label, *cells in rows[1:]:
        first = label or first
        for second, cell in zip(names, cells, strict=False):
            if cell and cell != abbreviation:
                verdict, p_value = cell.split()[:2]
                found[ABBREVIATIONS[abbreviation], first, second] = (
                    "same" if verdict == "~" else verdict,
                    float(p_value.lstrip("<")),
                )
    return found


def _misheard(reference: list[str], rng: random.Random, rate: float) -> list[str]:
    hypothesis = []
    for word in reference:
        heard = rng.random()
        if heard > rate / 2:
            hypothesis.append(word if heard > rate else rng.choice(WORDS))
        if rng.random() < rate / 4:
            hypothesis.append(rng.choice(WORDS))
    return hypothesis


def _scored(
    ids: list[tuple[str, int]], references: list[list[str]], hypotheses: list[list[str]]
) -> list[ScoredUtterance]:
    operations = align_all(list(zip(references, hypotheses, strict=True)))
    rows = zip(ids, references, hypotheses, operations, strict=True)
    return [
        ScoredUtterance(f"{speaker}-{utt:03d}", speaker, 1, " ".join(ref), " ".join(hyp), ref, hyp, ops)
        for (speaker, utt), ref, hyp, ops in rows
    ]
