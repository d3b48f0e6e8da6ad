"""Before the first stage: read every setting that a later stage will read, so that a slip costs seconds.

In: the recipe's tables and conf/SCALE. Out: nothing, or one line that names the first slip.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zipperasr.cli import nearest, parser, run_step, shortened
from zipperasr.config import load_yaml, parse_overrides

LEAST = {"nj": 1, "nproc": 1, "ngpu": 0, "num_nodes": 1, "node_rank": 0, "seed": 0}


def check(options: argparse.Namespace) -> None:
    """Raises ValueError or FileNotFoundError for an unknown scale, setting, variant, key or language."""
    from zipperasr.decode.decode_config import DecodeConfig
    from zipperasr.languages import LanguageTable
    from zipperasr.lora import variant_class
    from zipperasr.model.experiment import INITIAL_PARTS
    from zipperasr.model.model_config import REGIMES, ModelConfig
    from zipperasr.prepare.dataset_table import SETTINGS, load_corpora, load_datasets
    from zipperasr.stages.train import new_languages
    from zipperasr.train.new_language import check_request
    from zipperasr.train.train_config import TrainConfig

    for name, least in LEAST.items():
        _check_integer(f"--{name}", getattr(options, name), least)
    conf: Path = options.conf
    _choose("scale", conf.name, sorted(path.name for path in conf.parent.iterdir() if path.is_dir()))
    _choose("setting", options.setting, SETTINGS)
    _choose("regime", options.regime, REGIMES)
    variant_class(options.lora)
    for part in options.initial_parts:
        _choose("part for --initial_parts", part, list(INITIAL_PARTS))
    table = LanguageTable.load(options.languages)
    check_request(new_languages(options), table)
    load_datasets(options.datasets, options.setting, table)
    load_corpora(conf / "corpora.yaml")
    load_yaml(ModelConfig, conf / "model.yaml")
    for phase in ("align", "sft"):
        load_yaml(TrainConfig, conf / f"{phase}.yaml", parse_overrides(options.train_args, "--train_args"))
    load_yaml(DecodeConfig, conf / "decode.yaml", parse_overrides(options.decode_args, "--decode_args"))


def _check_integer(name: str, text: str, least: int) -> None:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise ValueError(f"{name} {shortened(text)}: wanted a whole number, at least {least}")


def _choose(what: str, got: str, known: list[str] | tuple[str, ...]) -> None:
    if got not in known:
        raise ValueError(f"unknown {what} {got!r}; {nearest(got, list(known))}")


def main(argv: list[str] | None = None) -> int:
    from zipperasr.stages.train import add_new_language_options

    options = parser(__doc__)
    options.add_argument("--conf", type=Path, default=Path("conf/mini"), help="the scale's configuration")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="the data set table")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="the language table")
    options.add_argument("--setting", default="1h", help="size of the four small languages")
    options.add_argument("--lora", default="zipper_soft", help="encoder-side LoRA")
    options.add_argument("--regime", default="chunked", help="how the encoder sees an utterance")
    options.add_argument("--initial_parts", nargs="*", default=["b"], help="what Initial-B takes")
    add_new_language_options(options)
    for name, least in LEAST.items():
        options.add_argument(f"--{name}", default=str(least), metavar="N", help=f"a whole number, at least {least}")
    options.add_argument(
        "--train_args", nargs="*", default=[], metavar="KEY=VALUE", help="over align.yaml and sft.yaml"
    )
    options.add_argument("--decode_args", nargs="*", default=[], metavar="KEY=VALUE", help="over decode.yaml")
    return run_step(check, options.parse_args(argv), "preflight")


if __name__ == "__main__":
    sys.exit(main())
