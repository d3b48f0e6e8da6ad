"""A scored run of a tiny model with an aligner, in which utterances are noise and hypotheses are the model's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import soundfile

from tests.report.example import RUNS
from tests.transcribe.sound import RATE, noise
from zipperasr.datadir.entry import write_lines
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.report.html.__main__ import main
from zipperasr.run_record import DecodingRun, save_run
from zipperasr.stages.score import main as score
from zipperasr.transcribe import Transcriber

SYSTEM, DECODING = "sft_zipper_soft_chunked", "decode_greedy_chunked"
SETS = {"test_x_de": "de", "test_x_es": "es"}
UTTS, DURATION_S = ("s-1", "s-2", "s-3"), 2.0
OTHER, CHANGED = "s-2", "nicht von diesem Modell"  # an utterance with a hypothesis of another model, as of a GPU


def write_timed_run(root: Path, trained: Path, languages: Path) -> Path:
    """Write all inputs of the page below `root`."""
    raw, model = root / "dump" / "raw", root / "exp" / SYSTEM
    shutil.copytree(trained, model)
    transcriber = Transcriber.from_pretrained(trained, "cpu")
    rows = []
    for name, code in SETS.items():
        for directory in (raw / name, model / DECODING / name):
            directory.mkdir(parents=True)
        found = {}
        for number, utt in enumerate(UTTS):
            samples = noise(DURATION_S, 10 + number)
            soundfile.write(raw / name / f"{utt}.flac", samples, RATE)
            text = transcriber(raw / name / f"{utt}.flac", lang=code).text
            found[utt] = " ".join(text.split())  # as stage 7 writes it
        if code == "de":
            found[OTHER] = CHANGED
        write_lines(model / DECODING / name / "text", (f"{utt} {text}".strip() for utt, text in found.items()))
        tables = {"text": "ein Wort", "utt2spk": "s", "utt2lang": code, "utt2dur": str(DURATION_S)}
        for table, value in tables.items():
            write_lines(raw / name / table, (f"{utt} {value}" for utt in UTTS))
        write_lines(raw / name / "wav.scp", (f"{utt} {raw / name / utt}.flac" for utt in UTTS))
        rows.append(SetRow(name, "test", "sft", "x", code))
    write_sets(raw / "sets.tsv", rows)
    save_run(RUNS[SYSTEM], model)
    save_run(DecodingRun("greedy", "chunked"), model / DECODING)
    assert score(["--decode_dir", str(model / DECODING), "--raw", str(raw), "--languages", str(languages)]) == 0
    return root


def build(run: Path, languages: Path, *options: str) -> int:
    """Write the page; returns the exit status."""
    places = ["--exp", str(run / "exp"), "--raw", str(run / "dump" / "raw"), "--out", str(run / "report.html")]
    return main([*places, "--languages", str(languages), *options])
