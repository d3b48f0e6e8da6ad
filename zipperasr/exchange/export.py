"""Export a trained model to the formats of other tools.

peft: one PEFT adapter per language, for the encoder of stage 5, which is written in transformers' format.
merged: encoder and LLM for transformers, with the adapters of one language merged.
bundle: one zip with everything, for `load_pretrained`. See docs/export.md for examples.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.exchange.licences import FILE as LICENCES
from zipperasr.exchange.licences import licence_notes

if TYPE_CHECKING:
    from zipperasr.exchange.pretrained import Pretrained

FORMATS = ("peft", "merged", "bundle")
DTYPES = ("float32", "float16", "bfloat16")  # names in torch


@dataclass(frozen=True)
class ExportJob:
    """One call of `zipperasr export`."""

    model: Path  # training directory or bundle
    format: str
    out: Path
    lang: tuple[str, ...] = ()
    dtype: str = "float32"
    base_name: str | None = None
    hub_whisper: str | None = None
    hub_llm: str | None = None


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr export"
    options.add_argument("--model", type=Path, required=True, help="training directory or bundle")
    options.add_argument("--format", choices=FORMATS, required=True, help="output format")
    options.add_argument(
        "--lang", nargs="+", default=(), metavar="CODE", help="peft: languages, or all; merged: one language"
    )
    options.add_argument("--out", type=Path, required=True, help="output: a new directory, or a .zip for a bundle")
    options.add_argument("--dtype", choices=DTYPES, default="float32", help="peft, merged: precision of the weights")
    options.add_argument("--base_name", default=None, help="peft: name or hub id of the base model; default: OUT/base")
    options.add_argument("--hub_whisper", default=None, metavar="ID", help="bundle: refer to this Whisper on the hub")
    options.add_argument("--hub_llm", default=None, metavar="ID", help="bundle: refer to this LLM on the hub")
    values = vars(options.parse_args(argv))
    return run_step(export, ExportJob(**{**values, "lang": tuple(values["lang"])}), "zipperasr export")


def export(job: ExportJob) -> None:
    """Export the model as `job` says. Raises FileNotFoundError or ValueError."""
    if job.out.exists():
        raise ValueError(f"{job.out} already exists; remove it or choose another --out")
    _check_options(job)
    if job.format == "bundle":
        from zipperasr.exchange.bundle import HubIds, write_bundle

        write_bundle(job.model, job.out, HubIds(job.hub_whisper, job.hub_llm))
        log(f"{job.out}: {job.out.stat().st_size:,} bytes")
        return
    import torch

    from zipperasr.exchange.merged_model import write_merged
    from zipperasr.exchange.peft_adapter import BASE, write_peft
    from zipperasr.exchange.pretrained import load_pretrained

    opened, dtype = load_pretrained(job.model), getattr(torch, job.dtype)
    codes = _languages(job, opened)
    with atomic_path(job.out) as temporary:
        if job.format == "peft":
            base_name = job.base_name or str((job.out / BASE).resolve())
            write_peft(opened, codes, temporary, base_name, dtype)
        else:
            write_merged(opened, codes[0] if codes else None, temporary, dtype)
        config = opened.experiment.model
        (temporary / LICENCES).write_text(licence_notes(config.whisper, config.llm), encoding="utf-8")
    log(f"{job.out}: {job.format}, {' '.join(codes) or 'no encoder LoRA'}")


def _check_options(job: ExportJob) -> None:
    """Raises ValueError for an option that the format does not use."""
    given = {
        "--lang": job.lang,
        "--dtype": job.dtype != "float32",
        "--base_name": job.base_name,
        "--hub_whisper": job.hub_whisper,
        "--hub_llm": job.hub_llm,
    }
    used = {
        "peft": ("--lang", "--dtype", "--base_name"),
        "merged": ("--lang", "--dtype"),
        "bundle": ("--hub_whisper", "--hub_llm"),
    }
    for option, value in given.items():
        if value and option not in used[job.format]:
            raise ValueError(f"--format {job.format} does not use {option}; remove it")
    if job.format == "bundle" and job.out.suffix != ".zip":
        raise ValueError(f"--out {job.out}: wanted a file name ending in .zip")
    if job.format == "bundle" and job.model.is_file():
        raise ValueError(f"--model {job.model}: got a file, wanted a training directory")


def _languages(job: ExportJob, opened: Pretrained) -> list[str]:
    """The requested languages. Raises ValueError if one is unknown, or if the format needs more or fewer."""
    known = opened.languages.codes
    codes = known if job.lang == ("all",) else list(dict.fromkeys(job.lang))
    for code in codes:
        opened.languages[code]
    adapted = opened.model.adapters is not None
    if job.format == "merged" and len(codes) != (1 if adapted else 0):
        wanted = f"one of {', '.join(known)}" if adapted else "none, because the model has no encoder LoRA"
        raise ValueError(f"--lang: got {len(codes)} languages for --format merged, wanted {wanted}")
    if job.format == "peft" and not codes:
        raise ValueError(f"--format peft needs --lang with all, or with codes from {', '.join(known)}")
    return codes


if __name__ == "__main__":
    sys.exit(main())
