"""Create a recipe for data of your own: egs2/NAME/asr1 in the project's directory.

The lists are manifests (.jsonl, as of NeMo or Qwen3-ASR), tables with a header (.csv, .tsv), CutSets of lhotse
(.jsonl.gz), data sets of Hugging Face (.parquet, or directories of save_to_disk) or data directories of Kaldi or
ESPnet, all in one format. The alignment and the adaptation both use all of the training data; with --init_from, the
recipe fine-tunes a trained model instead. `zipperasr data check FILE` prints what a list contains.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zipperasr
from zipperasr.cli import log, nearest, parser, run_step
from zipperasr.corpora import CORPORA
from zipperasr.corpora.audio_tables import PARQUET
from zipperasr.corpora.huggingface import shards_of
from zipperasr.corpora.own_data import language_code
from zipperasr.languages import Language, LanguageTable
from zipperasr.model.experiment import LANGUAGES
from zipperasr.own_data.pretrained import install, pretrained_model
from zipperasr.own_data.survey import ERRORS, Survey, survey
from zipperasr.prepare.dataset_table import COLUMNS, HELD_OUT, NO_DEV, NO_TRAIN

PROJECT = Path(zipperasr.__file__).parents[1]
SETUP = "egs2/TEMPLATE/asr1/setup.sh"
RUN = """\
#!/usr/bin/env bash
# Train and evaluate on the lists in own/. Takes the options of asr.sh.
#
# Usage: ./run.sh --ngpu 1         Whisper large-v3 and Qwen3-1.7B
#        ./run.sh --scale mini     small models, on the CPU: to try the data out
set -euo pipefail
cd "$(dirname "$0")"

exec ./asr.sh --scale full "$@"
"""
PRETRAINED = "exp_full/pretrained"  # a copy of the model of --init_from
RUN_FROM = f"""\
#!/usr/bin/env bash
# Fine-tune {PRETRAINED} on the lists in own/. Takes the options of asr.sh.
#
# Usage: ./run.sh --ngpu 1                       train the banks of the languages in own/
#        ./run.sh --ngpu 1 --train_parts all     train everything; other languages change
set -euo pipefail
cd "$(dirname "$0")"

exec ./asr.sh --scale full --init_from {PRETRAINED} "$@"
"""
PROMPT = "Please transcribe the audio content into text."
SCORED_BY_CHARACTER = ("ja", "km", "lo", "my", "th", "yue", "zh")  # written without spaces between words
KEEP_MARKS = ("ar", "th")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class OwnLists:
    """The lists of a recipe. dev: None to take it from train."""

    train: Path
    dev: Path | None
    test: Path

    def given(self) -> dict[str, Path]:
        """The lists by split."""
        return {split: path for split in SPLITS if (path := getattr(self, split)) is not None}


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("name", metavar="NAME", help="name of the recipe and of its corpus: letters, digits, _")
    options.add_argument("--train", type=Path, required=True, metavar="FILE", help="list of the training data")
    options.add_argument(
        "--dev", type=Path, metavar="FILE", help="list of the dev data; default: some of the training data"
    )
    options.add_argument("--test", type=Path, required=True, metavar="FILE", help="list of the test data")
    options.add_argument("--lang", metavar="CODE", help="language of utterances that name none")
    options.add_argument(
        "--whisper_token",
        nargs="*",
        default=[],
        metavar="CODE=TOKEN",
        help="for languages that Whisper does not know: the token of a related one, such as gsw=de",
    )
    options.add_argument(
        "--init_from", type=Path, metavar="MODEL", help="trained model to fine-tune: a bundle, or a training directory"
    )

    def step(given: argparse.Namespace) -> None:
        tokens = dict(word.split("=", 1) if "=" in word else (word, "") for word in given.whisper_token)
        create(given.name, OwnLists(given.train, given.dev, given.test), given.lang, given.init_from, tokens)

    return run_step(step, options.parse_args(argv), "new")


def create(
    name: str,
    lists: OwnLists,
    lang: str | None = None,
    init_from: Path | None = None,
    whisper_tokens: Mapping[str, str] | None = None,
) -> None:
    """Write the recipe.

    Args:
        lang: language of utterances that name none.
        init_from: trained model to fine-tune.
        whisper_tokens: for languages that Whisper does not know, the token of a related one.

    Raises ValueError if a list has errors or nothing to train on. After an error, nothing is left.
    """
    if not (PROJECT / SETUP).is_file():
        raise ValueError(f"{PROJECT}: not a checkout of the project, which has the recipes; clone it and install there")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in CORPORA:
        raise ValueError(f"NAME: got {name!r}, wanted a letter, then letters, digits and underscores; no known corpus")
    lang = lang and language_code(lang, "--lang")
    recipe = PROJECT / "egs2" / name / "asr1"
    if recipe.exists():
        raise ValueError(f"{recipe}: already exists; choose another name, or remove it")
    found = {split: _surveyed(path, lang) for split, path in lists.given().items()}
    if len({each.reader for each in found.values()}) > 1:
        formats = ", ".join(f"{each.path} ({each.reader})" for each in found.values())
        raise ValueError(f"the lists have different formats: {formats}; wanted one")
    _check_overlap(found)
    with pretrained_model(init_from, PROJECT / "egs2") as model:
        languages = _languages(found, whisper_tokens or {}) if model is None else _known_languages(model, found)
        rows = _rows(name, found, "both" if model is None else "sft")
        with tempfile.TemporaryDirectory(dir=recipe.parents[1], prefix=f"{name}_") as folder:
            unfinished = Path(folder) / "asr1"
            _write(unfinished, name, model, languages, rows)
            _link(lists, unfinished / "own" / (lang or ""))
            recipe.parent.mkdir(exist_ok=True)
            unfinished.rename(recipe)
    log(f"languages: {', '.join(row[2] for row in rows)}; next: cd {recipe} && ./run.sh --ngpu 1")


def _write(recipe: Path, name: str, model: Path | None, languages: list[Language], rows: list[tuple[str, ...]]) -> None:
    """Write everything but the links to the lists."""
    setup = [PROJECT / SETUP, recipe.relative_to(PROJECT)]
    subprocess.run(setup, cwd=PROJECT, check=True, capture_output=True)
    if model is not None:
        install(model, recipe, PRETRAINED)
    LanguageTable(languages).save(recipe / "conf/languages.tsv")
    table = "\n".join("\t".join(row) for row in (COLUMNS, *rows))
    (recipe / "conf/datasets.tsv").write_text(f"{table}\n", encoding="utf-8")
    for config in sorted(recipe.glob("conf/*/corpora.yaml")):
        _add_root(config, name)
    (recipe / "run.sh").write_text(RUN if model is None else RUN_FROM, encoding="utf-8")


def _check_overlap(found: Mapping[str, Survey]) -> None:
    """Raise ValueError if two lists share ids: stage 1 would leave these utterances out of the training data."""
    for one, other in (("train", "test"), ("train", "dev"), ("dev", "test")):
        if one in found and other in found and (shared := sorted(found[one].ids & found[other].ids)):
            raise ValueError(
                f"{found[one].path} and {found[other].path} share {len(shared)} ids (first: {shared[0][1]}); remove "
                "utterances that are in both, and give different ones different ids"
            )


def _surveyed(path: Path, lang: str | None) -> Survey:
    found = survey(path, lang)
    if found.num_errors:
        kind, flaw = next((kind, flaw) for kind, flaw in found.flaws.items() if kind in ERRORS)
        raise ValueError(
            f"{path}: {flaw.count} utterances {kind}, the first: {flaw.examples[0]}; `zipperasr data check` has more"
        )
    if not found.languages:
        raise ValueError(f"{path}: no usable utterance; see `zipperasr data check {path}`")
    if lang and set(found.languages) != {lang}:
        others = ", ".join(sorted(found.languages.keys() - {lang}))
        raise ValueError(f"{path}: --lang {lang}, but there are utterances in {others}; give each line its language")
    return found


def _languages(found: Mapping[str, Survey], whisper_tokens: Mapping[str, str]) -> list[Language]:
    """The languages of the training data, as the project's table has them or with defaults."""
    known = LanguageTable.load(PROJECT / "egs2/zipper12/asr1/conf/languages.tsv")
    codes = sorted(found["train"].languages)
    return [known[code] if code in known else _new_language(code, whisper_tokens.get(code, code)) for code in codes]


def _known_languages(model: Path, found: Mapping[str, Survey]) -> list[Language]:
    """All languages of a trained model. Raises ValueError if it does not have one of the data."""
    table = LanguageTable.load(model / LANGUAGES)
    unknown = sorted({code for each in found.values() for code in each.languages} - set(table.codes))
    if unknown:
        raise ValueError(
            f"--init_from: the model does not know {', '.join(unknown)}, only {', '.join(table.codes)}; remove these "
            "utterances; docs/add_language.md says how to add a language"
        )
    return list(table)


def _new_language(code: str, token: str) -> Language:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as NAMES  # takes a second

    if token not in NAMES:
        raise ValueError(
            f"language {code!r}: Whisper has no token {token!r}; {nearest(token, list(NAMES))}; give that of a related "
            f"language, such as --whisper_token {code}=de"
        )
    unit = "cer" if code in SCORED_BY_CHARACTER else "wer"
    name = NAMES[code].title() if code in NAMES else code
    return Language(code, token, name, unit, "whisper", PROMPT, "keep" if code in KEEP_MARKS else "")


def _rows(name: str, found: Mapping[str, Survey], phase: str) -> list[tuple[str, ...]]:
    """Lines of datasets.tsv, one for each language.

    Raises ValueError if a language of the training data has no test data, or the other way round; a trained model can
    be tested in languages without training data.
    """
    rows = []
    untrained = sorted(found["dev"].languages.keys() - found["train"].languages.keys()) if "dev" in found else []
    if untrained:
        raise ValueError(
            f"{found['dev'].path}: utterances in {untrained[0]!r}, which has no training data; remove them"
        )
    corpus = f"{name}:{found['train'].reader}"
    for code, facts in sorted(found["test"].languages.items()):
        if code in found["train"].languages:
            continue
        if phase == "both":
            raise ValueError(f"{found['test'].path}: utterances in {code!r}, which has no training data; remove them")
        rows.append((phase, corpus, code, "both", NO_TRAIN, "-", NO_DEV, "test", f"{facts.hours:.3f}", "-", "-"))
    for code, facts in sorted(found["train"].languages.items()):
        test = found["test"].languages.get(code)
        if test is None:
            raise ValueError(
                f"{found['test'].path}: no utterance in {code!r}; add some, or remove {code!r} from the others"
            )
        dev = "dev" if "dev" in found and code in found["dev"].languages else HELD_OUT
        if dev == HELD_OUT and len(facts.speakers) == 1:
            dev = NO_DEV
        hours = (f"{facts.hours:.3f}", f"{test.hours:.3f}")
        rows.append((phase, corpus, code, "both", "train", hours[0], dev, "test", hours[1], "-", "-"))
    return rows


def _add_root(config: Path, name: str) -> None:
    """Add the recipe's own corpus to the corpora of a scale."""
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("roots:\n", f"roots:\n  {name}: own # the lists that `zipperasr new` was given\n", 1).replace(
            "table_hours: true", "table_hours: false"
        ),
        encoding="utf-8",
    )


def _link(lists: OwnLists, folder: Path) -> None:
    """Link each list, or all its files, to own/SPLIT with the suffix that its reader expects."""
    folder.mkdir(parents=True)
    for split, path in lists.given().items():
        files = shards_of(path) if path.suffix == PARQUET and path.is_file() else [path.resolve()]
        suffix = "" if path.is_dir() else ".jsonl.gz" if path.suffix == ".gz" else path.suffix
        for number, file in enumerate(files):
            shard = f"-{number:05d}-of-{len(files):05d}" if len(files) > 1 else ""
            (folder / f"{split}{shard}{suffix}").symlink_to(file)


if __name__ == "__main__":
    sys.exit(main())
