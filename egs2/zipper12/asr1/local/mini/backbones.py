"""The mini backbones: unpack the shipped ones, or train them anew.

In: local/mini/weights (shipped) or synthetic speech and texts (--train). Out: <out>/whisper and <out>/llm, two
directories that transformers loads by from_pretrained, as it would load a hub's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from local.mini.pretraining import CHECKSUMS, PARTS, BackboneConfig, sha256, train
from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log, parser, run_step
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.sole_writer import sole_writer

SHIPPED = Path(__file__).parent / "weights"


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
            if not source.is_file() or sha256(source) != digest:
                raise ValueError(f"{source}: missing or damaged; restore it from the repository")
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary / name)
        files = [str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file()]
        mark_current(temporary, inputs, files)
    log(f"backbones: {shipped} -> {out}")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=Path("exp/backbones"), help="where the two models go")
    options.add_argument("--train", action="store_true", help="train anew instead of copying the shipped ones")
    options.add_argument("--start", type=Path, help="train only the last phase of each, on these backbones")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which to train")
    options.add_argument("--config", type=Path, default=Path("conf/mini/backbones.yaml"), help="sizes and schedules")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis, threads for training")
    return run_step(_run, options.parse_args(argv), "local.mini.backbones")


def _run(options: argparse.Namespace) -> None:
    if not options.train:
        install(options.out)
        return
    from local.mini.evaluate_backbones import unseen_sentences
    from local.mini.plan import held_out_texts

    config = load_yaml(BackboneConfig, options.config)
    table = LanguageTable.load(options.languages)
    held_out = held_out_texts()
    for code, sentences in unseen_sentences(table.codes).items():
        held_out.setdefault(code, set()).update(sentence.written for sentence in sentences)
    with sole_writer(options.out):
        train(config, table, held_out, options.out, options.nj, options.start, tuple(options.parts))


if __name__ == "__main__":
    sys.exit(main())
