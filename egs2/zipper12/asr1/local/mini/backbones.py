"""Install the mini backbones that the project ships, or train them.

In: local/mini/weights (shipped) or synthetic speech and texts (--train). Out: <out>/whisper and <out>/llm, two
directories that transformers loads with from_pretrained.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from local.mini.pretraining import CHECKSUMS, PARTS, BackboneConfig, sha256, train
from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log, parser, run_step
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.sole_writer import sole_writer

SHIPPED = Path(__file__).parent / "weights"


def install(out: Path, shipped: Path = SHIPPED) -> None:
    """Copy the shipped backbones to `out` and verify their checksums.

    Raises FileNotFoundError if they are missing, ValueError naming a damaged file.
    """
    sums = shipped / CHECKSUMS
    if not sums.is_file():
        raise FileNotFoundError(f"{sums}: no shipped backbones; train them with --train_backbones true")
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


def train_backbones(
    out: Path,
    nj: int,
    config: Path = Path("conf/mini/backbones.yaml"),
    languages: Path = Path("conf/languages.tsv"),
    start: Path | None = None,
    parts: Sequence[str] = PARTS,
) -> None:
    """Train the backbones (see `pretraining.train`) on texts that no test or dev set contains."""
    from local.mini.evaluate_backbones import unseen_sentences
    from local.mini.plan import held_out_texts

    sizes = load_yaml(BackboneConfig, config)
    table = LanguageTable.load(languages)
    held_out = held_out_texts()
    for code, sentences in unseen_sentences(table.codes).items():
        held_out.setdefault(code, set()).update(sentence.written for sentence in sentences)
    with sole_writer(out):
        train(sizes, table, held_out, out, nj, start, tuple(parts))


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=Path("exp/backbones"), help="output directory of the two models")
    options.add_argument("--train", action="store_true", help="train instead of copying the shipped backbones")
    options.add_argument("--start", type=Path, help="backbones to start from; trains only the last phase of each")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which of the two to train")
    options.add_argument("--config", type=Path, default=Path("conf/mini/backbones.yaml"), help="sizes and schedules")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis, threads for training")

    def step(given: argparse.Namespace) -> None:
        if given.train:
            train_backbones(given.out, given.nj, given.config, given.languages, given.start, given.parts)
        else:
            install(given.out)

    return run_step(step, options.parse_args(argv), "local.mini.backbones")


if __name__ == "__main__":
    sys.exit(main())
