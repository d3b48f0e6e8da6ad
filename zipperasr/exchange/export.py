"""A trained model in other tools' formats.

peft: each language's adapter for PEFT, on the encoder of stage 5 in transformers' form. merged: one language's encoder
and the LLM, adapters merged, for transformers. bundle: one zip with everything, which `load_pretrained` opens.
docs/export.md has examples.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.exchange.bundle import HubIds, write_bundle
from zipperasr.exchange.licences import FILE as LICENCES
from zipperasr.exchange.licences import licence_notes
from zipperasr.exchange.merged_model import write_merged
from zipperasr.exchange.peft_adapter import BASE, write_peft
from zipperasr.model.pretrained import Pretrained, load_pretrained

FORMATS = ("peft", "merged", "bundle")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr export"
    options.add_argument("--model", type=Path, required=True, help="training directory, or a bundle")
    options.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    options.add_argument("--lang", nargs="+", default=[], metavar="CODE", help="peft: languages, or all; merged: one")
    options.add_argument("--out", type=Path, required=True, help="what to write it to: a new directory, or a .zip")
    options.add_argument("--dtype", choices=DTYPES, default="float32", help="peft, merged: how weights are stored")
    options.add_argument("--base_name", default=None, help="peft: the base's name or hub id; default: OUT/base")
    options.add_argument("--hub_whisper", default=None, metavar="ID", help="bundle: name Whisper, do not include it")
    options.add_argument("--hub_llm", default=None, metavar="ID", help="bundle: name the LLM, do not include it")
    return run_step(_export, options.parse_args(argv), "zipperasr export")


def _export(options: argparse.Namespace) -> None:
    if options.out.exists():
        raise ValueError(f"{options.out}: there already; remove it or choose another --out")
    _check_options(options)
    if options.format == "bundle":
        write_bundle(options.model, options.out, HubIds(options.hub_whisper, options.hub_llm))
        log(f"{options.out}: {options.out.stat().st_size:,} bytes")
        return
    opened = load_pretrained(options.model)
    codes = _languages(options, opened)
    with atomic_path(options.out) as temporary:
        if options.format == "peft":
            base_name = options.base_name or str((options.out / BASE).resolve())
            write_peft(opened, codes, temporary, base_name, DTYPES[options.dtype])
        else:
            write_merged(opened, codes[0] if codes else None, temporary, DTYPES[options.dtype])
        config = opened.experiment.model
        (temporary / LICENCES).write_text(licence_notes(config.whisper, config.llm), encoding="utf-8")
    log(f"{options.out}: {options.format}, {' '.join(codes) or 'no language adapters (stage 5)'}")


def _check_options(options: argparse.Namespace) -> None:
    """An option that the format would not heed is an error."""
    given = {
        "--lang": options.lang,
        "--dtype": options.dtype != "float32",
        "--base_name": options.base_name,
        "--hub_whisper": options.hub_whisper,
        "--hub_llm": options.hub_llm,
    }
    heeded = {
        "peft": ("--lang", "--dtype", "--base_name"),
        "merged": ("--lang", "--dtype"),
        "bundle": ("--hub_whisper", "--hub_llm"),
    }
    for option, value in given.items():
        if value and option not in heeded[options.format]:
            raise ValueError(f"--format {options.format} has no use for {option}; leave it out")
    if options.format == "bundle" and options.out.suffix != ".zip":
        raise ValueError(f"{options.out}: wanted a name that ends in .zip")
    if options.format == "bundle" and options.model.is_file():
        raise ValueError(f"{options.model}: a bundle already; wanted a training directory")


def _languages(options: argparse.Namespace, opened: Pretrained) -> list[str]:
    """The languages asked for. Raises ValueError if the format takes another number of them, or one is unknown."""
    known = opened.languages.codes
    codes = known if options.lang == ["all"] else list(dict.fromkeys(options.lang))
    for code in codes:
        opened.languages[code]
    adapted = opened.model.adapters is not None
    if options.format == "merged" and len(codes) != (1 if adapted else 0):
        wanted = f"one of {', '.join(known)}: each has its own encoder" if adapted else "none: stage 5 adapts to none"
        raise ValueError(f"--lang: got {len(codes)} languages for --format merged; wanted {wanted}")
    if options.format == "peft" and not codes:
        raise ValueError(f"--format peft needs --lang: some of {', '.join(known)}, or all")
    return codes


if __name__ == "__main__":
    sys.exit(main())
