"""Collect what the stages wrote below exp/: scored decodings, training logs.

In: the experiment directory. Out: a `Run` with `Decoding` and `Training` objects in a fixed order, alignments first.
What a directory holds is read from its run.json, or from config.yaml if an earlier version wrote it; a directory's name
is only its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zipperasr.languages import LanguageTable
from zipperasr.lora import NO_LORA, VARIANTS
from zipperasr.report.groups import Groups, load_groups
from zipperasr.report.read_files import read_config, read_json, read_jsonl
from zipperasr.run_record import DecodingRun, TrainingRun, load_run
from zipperasr.score.oracle import TABLE, OracleScore, read_oracle
from zipperasr.score.scores_table import SetScore, read_scores

ALIGNMENT = "Alignment"  # label of every alignment
NO_ENCODER_LORA = "no encoder LoRA"  # label of an adaptation with --lora none
MAIN_SETTING = "1h"  # the setting of the paper's tables
OTHER = "other"  # phase of a directory that says nothing about itself


@dataclass(frozen=True)
class Model:
    """A training directory, and what it says about itself."""

    directory: Path
    phase: str  # align | sft | other
    label: str  # ALIGNMENT, or variant and tag
    regime: str  # chunked | full | ""
    setting: str = MAIN_SETTING  # 1h | 30h
    seed: int | None = None
    among_seeds: bool = False  # the same system was trained with other seeds too

    @property
    def system(self) -> str:
        """Label in tables; all seeds of a system share it."""
        return self.label if self.setting == MAIN_SETTING else f"{self.label} ({self.setting.removesuffix('h')} h)"

    @property
    def title(self) -> str:
        """Label of this training alone."""
        return f"{self.system} seed {self.seed}" if self.among_seeds else self.system


@dataclass(frozen=True)
class Decoding:
    """One decoding of the test sets with one model."""

    model: Model
    directory: Path
    search: str  # greedy | beamN, and the tag
    regime: str
    scores: list[SetScore]
    audio_s_per_s: float | None = None  # inverse real-time factor over all test sets; None if not measured
    oracles: list[OracleScore] = field(default_factory=list)  # empty without n-best lists
    algorithm: str = ""  # greedy | beamN; "" if an earlier version wrote the directory, without run.json

    @property
    def name(self) -> str:
        """Label in figures: the system, and the regime and search unless they are the default."""
        odd = [word for word in (self.regime, self.search) if word not in ("chunked", "greedy")]
        return " ".join([self.model.system, *(f"({word})" for word in odd)])


@dataclass(frozen=True)
class Training:
    """Logs of one training; each list has one object per line of the file."""

    model: Model
    train: list[dict[str, Any]]
    dev: list[dict[str, Any]]
    router: list[dict[str, Any]]
    router_final: dict[str, Any] | None


@dataclass(frozen=True)
class Run:
    """Everything below one experiment directory, with the groups of languages."""

    exp: Path
    decodings: list[Decoding]
    trainings: list[Training]
    groups: Groups
    languages: LanguageTable


def read_run(exp: Path, datasets: Path, languages: LanguageTable) -> Run:
    """Read `exp`. datasets: the data set table. Raises FileNotFoundError if nothing is scored yet."""
    groups = load_groups(datasets, languages, added_languages(exp))
    return Run(exp, find_decodings(exp), find_trainings(exp), groups, languages)


def find_decodings(exp: Path) -> list[Decoding]:
    """Every scored decoding below `exp`. Raises FileNotFoundError if there is none."""
    models = read_models(exp)
    decodings = [_decoding(models[path.parents[1]], path) for path in exp.glob("*/*/scores.tsv")]
    if not decodings:
        raise FileNotFoundError(f"{exp}/*/decode_*/scores.tsv: nothing is scored yet; run stages 7 and 8 first")
    return sorted(decodings, key=lambda d: (*_order(d.model), d.regime, d.search))


def find_trainings(exp: Path) -> list[Training]:
    """Every directory below `exp` with a training log."""
    models = read_models(exp)
    trainings = [
        Training(
            model=models[path.parent],
            train=read_jsonl(path),
            dev=read_jsonl(path.with_name("dev.jsonl")),
            router=read_jsonl(path.with_name("router.jsonl")),
            router_final=read_json(path.with_name("router_final.json")),
        )
        for path in exp.glob("*/train.jsonl")
    ]
    return sorted(trainings, key=lambda training: _order(training.model))


def read_models(exp: Path) -> dict[Path, Model]:
    """The training directories below `exp`; those that say the same about themselves are labelled by their names."""
    directories = {path.parent for path in exp.glob("*/train.jsonl")}
    directories |= {path.parents[1] for path in exp.glob("*/*/scores.tsv")}
    models = [_model(directory) for directory in sorted(directories)]
    runs = Counter((_system(model), model.seed) for model in models)
    models = [replace(m, label=m.directory.name) if runs[_system(m), m.seed] > 1 else m for m in models]
    seeds = Counter(map(_system, models))
    return {model.directory: replace(model, among_seeds=seeds[_system(model)] > 1) for model in models}


def by_system(decodings: Sequence[Decoding]) -> list[list[Decoding]]:
    """Group decodings that differ only in the seed."""
    systems: dict[tuple, list[Decoding]] = {}
    for decoding in decodings:
        key = (decoding.model.system, decoding.model.regime, decoding.regime, decoding.search)
        systems.setdefault(key, []).append(decoding)
    grouped: list[list[Decoding]] = []
    for runs in systems.values():
        seeds = {run.model.seed for run in runs} - {None}
        grouped += [runs] if len(seeds) == len(runs) else [[run] for run in runs]
    return grouped


def added_languages(exp: Path) -> list[str]:
    """Languages that were added to trained systems below `exp`, from config.yaml."""
    added = (read_config(path.parent).get("added") for path in sorted(exp.glob("*/config.yaml")))
    return list(dict.fromkeys(str(code) for codes in added if isinstance(codes, list) for code in codes))


def _model(directory: Path) -> Model:
    run = load_run(TrainingRun, directory)
    if run is None:
        return _model_of_config(directory)
    if run.phase == "align":
        return Model(directory, "align", _joined(ALIGNMENT, run.tag), run.regime, seed=run.seed)
    tag = run.tag or "_".join(["initial", *run.initial_parts] if run.initial_parts else [])
    added = "_".join(["add", *run.added]) if run.added else "tuned" if "init_from" in run.parents else ""
    lora = NO_ENCODER_LORA if run.lora == NO_LORA else run.lora
    return Model(directory, run.phase, _joined(lora, tag, added), run.regime, run.setting, run.seed)


def _model_of_config(directory: Path) -> Model:
    """A directory of a version that wrote no run.json. config.yaml does not know the tag."""
    if not (directory / "config.yaml").is_file():
        return Model(directory, OTHER, directory.name, "")
    config = read_config(directory)
    phase, seed = str(config.get("phase", OTHER)), config.get("seed")
    plain = not config.get("initial_b") and not config.get("added")
    label = {"align": ALIGNMENT, "sft": config.get("lora")}.get(phase) if plain else None
    regime = str(config.get("regime", ""))
    return Model(directory, phase, str(label or directory.name), regime, seed=seed if isinstance(seed, int) else None)


def _decoding(model: Model, scores: Path) -> Decoding:
    directory = scores.parent
    run = load_run(DecodingRun, directory)
    search, regime = (_joined(run.search, run.tag), run.regime) if run else (directory.name, "")
    return Decoding(
        model,
        directory,
        search,
        regime,
        read_scores(scores),
        _speed(directory),
        read_oracle(directory / TABLE),
        run.search if run else "",
    )


def _system(model: Model) -> tuple:
    return model.phase, model.label, model.regime, model.setting


def _joined(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _speed(decode_dir: Path) -> float | None:
    """Seconds of audio decoded per second."""
    records = [read_json(path) for path in sorted(decode_dir.glob("*/rtf.json"))]
    spent_s = sum(record["seconds"] for record in records if record)
    return sum(record["audio_s"] for record in records if record) / spent_s if spent_s else None


def _order(model: Model) -> tuple:
    """Alignments first; variants in the registry's order, each followed by its tagged systems."""
    phases = {"align": 0, "sft": 1}
    variant, _, tag = model.label.partition(" ")
    place = list(VARIANTS).index(variant) if variant in VARIANTS else len(VARIANTS)
    return (phases.get(model.phase, 2), model.regime, model.setting, place, variant, tag, model.seed or 0)


def main_setting(runs: Iterable[Any]) -> list[Any]:
    """Decodings or trainings of the main setting; all if there are none."""
    runs = list(runs)
    return [run for run in runs if run.model.setting == MAIN_SETTING] or runs
