"""Print what lists of utterances contain: hours by language, lengths, speakers, sampling rates, duplicates, and what
the recipe would drop or refuse, with the reason.

FILE is a manifest (.jsonl, as of NeMo or Qwen3-ASR), a table with a header (.csv, .tsv), a CutSet of lhotse
(.jsonl.gz), a data set of Hugging Face (.parquet, or a directory of save_to_disk) or a data directory of Kaldi or
ESPnet. The exit status is 1 if a line is not valid or an id is repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

from zipperasr.cli import parser, run_step, shortened
from zipperasr.config import load_yaml
from zipperasr.corpora.own_data import language_code
from zipperasr.own_data.survey import DROPPED, ERRORS, SAME_AUDIO, SAME_TEXT, Survey, survey
from zipperasr.plan.columns import aligned

HEADER = ("language", "utterances", "hours", "shortest", "median", "longest", "speakers", "distinct characters")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("action", choices=["check"], help="check: print what the lists contain")
    options.add_argument("lists", type=Path, nargs="+", metavar="FILE", help="lists of utterances")
    options.add_argument("--lang", metavar="CODE", help="language of utterances that name none")
    options.add_argument(
        "--model", type=Path, help="model.yaml: also find characters that its tokenizer lacks, and too long utterances"
    )
    return run_step(_run, options.parse_args(argv), "data check")


def _run(options: argparse.Namespace) -> None:
    config = None
    if options.model is not None:
        from zipperasr.model.model_config import ModelConfig  # loads torch

        config = load_yaml(ModelConfig, options.model)
    errors = 0
    for path in options.lists:
        found = survey(path, options.lang and language_code(options.lang, "--lang"), config and config.max_positions)
        print("\n".join(lines_of(found)))
        if config is not None:
            print(f"not in the tokenizer of {config.llm}: {_unknown(found, config.llm) or 'no character'}")
        print()
        errors += found.num_errors
    if errors:
        raise ValueError(f"{errors} utterances cannot be used as they are; correct them, or remove their lines")


def lines_of(found: Survey) -> list[str]:
    """The survey as text."""
    rows = [
        (
            code, f"{len(facts.seconds):,}", f"{facts.hours:.2f}", *_lengths(facts.seconds),
            f"{len(facts.speakers):,}", f"{len(facts.characters):,}",
        )
        for code, facts in sorted(found.languages.items(), key=lambda item: -item[1].hours)
    ]  # fmt: skip
    rates = ", ".join(f"{rate} Hz: {count}" for rate, count in found.rates.most_common())
    lines = [f"{found.path} ({found.reader})", aligned([HEADER, *rows], right=range(1, len(HEADER)))]
    lines.append(f"sampling rates of the first {found.rates.total()} recordings: {rates or 'none'}")
    effects = dict.fromkeys(ERRORS, "stage 1 stops") | {kind: f"dropped by {stage}" for kind, stage in DROPPED.items()}
    effects |= {SAME_AUDIO: "kept", SAME_TEXT: "kept"}
    for kind, effect in effects.items():
        if kind in found.flaws:
            flaw = found.flaws[kind]
            more = ", ..." if flaw.count > len(flaw.examples) else ""
            lines.append(f"{flaw.count:,} {kind} ({effect}): {', '.join(map(shortened, flaw.examples))}{more}")
    return lines


def _lengths(seconds) -> tuple[str, str, str]:
    return tuple(f"{value:.1f} s" for value in (min(seconds), median(seconds), max(seconds)))


def _unknown(found: Survey, llm: str) -> str:
    """The characters that the LLM's tokenizer does not reproduce."""
    from zipperasr.model.backbones import load_tokenizer  # loads transformers

    tokenizer = load_tokenizer(llm)
    characters = sorted(set().union(*(facts.characters for facts in found.languages.values())) - {" "})

    def is_known(character: str) -> bool:
        return tokenizer.decode(tokenizer.encode(character, add_special_tokens=False)).strip() == character

    return " ".join(character for character in characters if not is_known(character))


if __name__ == "__main__":
    sys.exit(main())
