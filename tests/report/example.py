"""An example of the output of stages 1 to 8: three systems scored by stage 8 itself, with training logs."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

from tests.score.example import write_example
from zipperasr.prepare.utterance_lists import SetReport, write_report
from zipperasr.run_record import DecodingRun, TrainingRun, save_run
from zipperasr.stages.score import main as score

CODES = ["en", "fr", "th", "zh", "de", "es", "ru", "vi", "it", "ar", "ja", "ko", "pt"]
RUNS = {
    "align_chunked": TrainingRun("align", None, "chunked", "1h", 1),
    "sft_vanilla_chunked": TrainingRun("sft", "vanilla", "chunked", "1h", 1),
    "sft_zipper_soft_chunked": TrainingRun("sft", "zipper_soft", "chunked", "1h", 1),
}
LAYERS = [f"layers.{block}.{name}" for block in range(4) for name in ("q", "k", "v", "out", "fc1", "fc2")]

CORPORA = "roots: {mls: downloads/mls}\nutt_ids: UTT_IDS\n"
DATASETS = """\
phase corpus language setting train_split train_hours dev_split test_splits test_hours train_list test_list
align msr86k en both train 3000 dev dev 14.72 - -
align msr86k fr both train 3000 dev dev 12.60 - -
align msr86k th both train 3000 dev dev 8.37 - -
align wenetspeech zh both L 3000 dev test_meeting,test_net 15.18,23.06 - -
sft mls de both train 1000 dev test 14.29 train/de.txt -
sft mls es both train 1000 dev test 10.00 train/es.txt -
sft mls fr both train 1000 dev test 10.07 - -
sft mls it both train 500 dev test 8.10 - -
sft msr86k ru both train 1000 dev dev 8.16 - -
sft msr86k vi both train 1000 dev dev 7.25 - -
sft librispeech en both train 960 dev test 5.40 - -
sft commonvoice th both train 865 dev test 4.00 - test/th.txt
sft commonvoice ar 1h train 1 dev test 4.00 - -
sft commonvoice ja 1h train 1 dev test 4.00 - -
sft commonvoice ko 1h train 1 dev test 0.98 - -
sft commonvoice pt 1h train 1 dev train 1.00 - -
sft commonvoice ar 30h train 30 dev test 4.00 - -
""".replace(" ", "\t")
STAGES = """\
stage description wall_s peak_rss_mb when
0 corpora_and_backbones 61.5 900 2026-11-20T10:00:00
5 alignment 150.25 1800 2026-11-20T10:02:00
6 sft_vanilla 120.0 2100.4 2026-11-20T10:05:00
6 sft_vanilla 118.0 2050 2026-11-20T11:05:00
""".replace(" ", "\t")


def write_run(root: Path, languages: Path) -> Path:
    """Write the outputs below `root`, a recipe directory. Returns it."""
    decode_dir, raw = write_example(root)
    for model, lost_chars in (("align_chunked", 3), ("sft_zipper_soft_chunked", 1)):
        shutil.copytree(decode_dir, root / "exp" / model / "decode_greedy_chunked")
        for text in (root / "exp" / model).glob("decode_*/*/text"):
            lines = [line[:-lost_chars] if " " in line[:-lost_chars] else line for line in _lines(text)]
            text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for directory in (root / "exp").glob("*/decode_*"):
        argv = ["--decode_dir", str(directory), "--raw", str(raw), "--languages", str(languages)]
        assert score(argv) == 0
    rng = random.Random(1)
    for place, (model, run) in enumerate(RUNS.items()):
        _write_logs(root / "exp" / model, rng, floor=0.4 + 0.1 * place)
        save_run(run, root / "exp" / model)
        save_run(DecodingRun("greedy", "chunked"), root / "exp" / model / "decode_greedy_chunked")
    _write_router(root / "exp" / "sft_zipper_soft_chunked", rng)
    _write_cosines(root / "exp" / "lid", rng)
    (root / "conf").mkdir()
    (root / "conf" / "datasets.tsv").write_text(DATASETS, encoding="utf-8")
    lists = root / "downloads" / "utt_ids"
    (root / "conf" / "corpora.yaml").write_text(CORPORA.replace("UTT_IDS", str(lists)), encoding="utf-8")
    (root / "exp" / "stages.tsv").write_text(STAGES, encoding="utf-8")
    (root / "dump" / "manifest").mkdir()
    packing = {"align": {"packs": 12, "fill": 0.9712}, "sft": {"packs": 7, "fill": 0.9}}
    (root / "dump" / "manifest" / "packing.json").write_text(json.dumps(packing), encoding="utf-8")
    (root / "data").mkdir()
    write_report(root / "data" / "report.tsv", [SetReport("train_mls_de", "train/de.txt", lines=3, unique_ids=2)])
    (lists / "train").mkdir(parents=True)
    (lists / "train" / "de.txt").write_text("a-1\na-1\na-2\n", encoding="utf-8")
    return root


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _write_logs(directory: Path, rng: random.Random, floor: float) -> None:
    lines = [
        {"step": step, "loss": floor + 3 * math.exp(-step / 80) + rng.gauss(0, 0.12), "lr": 1e-3, "grad_norm": 1.0}
        for step in range(1, 401)
    ]
    dev = [{"step": step, "loss": floor + 0.15 + 3 * math.exp(-step / 80), "loss_de": 1.0} for step in (100, 200, 400)]
    (directory / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (directory / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in dev), encoding="utf-8")


def _write_router(directory: Path, rng: random.Random) -> None:
    start = {code: [rng.gauss(0.5, 0.1) for _ in LAYERS] for code in CODES if code != "zh"}
    drift = {code: rng.gauss(0, 0.05) for code in start}
    path = [
        {"step": step, "p": {code: [p + drift[code] * step / 400 for p in ps] for code, ps in start.items()}}
        for step in range(0, 401, 50)
    ]
    (directory / "router.jsonl").write_text("".join(json.dumps(line) + "\n" for line in path), encoding="utf-8")
    p = [[[start[code][layer] + drift[code]] * 4 for code in start] for layer in range(len(LAYERS))]
    final = {"languages": list(start), "layers": LAYERS, "p": p}
    (directory / "router_final.json").write_text(json.dumps(final), encoding="utf-8")


def _write_cosines(directory: Path, rng: random.Random) -> None:
    directory.mkdir(parents=True)
    for mode in ("token", "state"):
        vectors = [[rng.gauss(0.5, 1) for _ in range(16)] for _ in CODES]
        rows = [[_cosine(one, other) for other in vectors] for one in vectors]
        lines = ["\t".join(CODES), *("\t".join(f"{value:.6f}" for value in row) for row in rows)]
        (directory / f"cosine_{mode}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
