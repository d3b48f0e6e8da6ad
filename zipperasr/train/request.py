"""Read and check what a training was asked for, before the processes join and before anything is written.

In: `TrainingRequest`. Out: `TrainingSetup`, with the experiment, its configuration and its data.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from zipperasr.atomic import fingerprint
from zipperasr.audio.segments import REGIMES
from zipperasr.batching.manifest import Manifest, longest_clips_s
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.languages import LanguageTable
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.lora import check_lora, is_routed
from zipperasr.model.experiment import WEIGHTS, Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.run_record import TrainingRun, versions
from zipperasr.train.continuation import Continuation, check_request, continued_experiment, language_table
from zipperasr.train.train_config import TrainConfig


@dataclass(frozen=True)
class TrainingRequest:
    """The arguments of stage 5 or 6.

    Attributes:
        phase: "align" (stage 5) or "sft" (stage 6).
        config: align.yaml or sft.yaml.
        overrides: KEY=VALUE settings that take precedence over `config`.
        languages: language table.
        manifest: directory of stage 3.
        out: training directory.
        seed: random seed.
        model: model.yaml; None for a training that starts from a trained model, which has its own.
        regime: "chunked" or "full"; None for the default, or for that of the trained model.
        lora: variant of the encoder's LoRA, or "none"; adaptation only.
        lid: directory of stage 4.
        lid_mode: which of its embeddings: "token" or "state".
        init: training directory of the alignment; adaptation only.
        initial_b: zipper_soft training whose B the weights start from.
        initial_parts: what is taken from `initial_b`.
        continuation: the trained model to start from, if any.
        setting, tag: recorded in run.json only.
    """

    phase: str
    config: Path
    languages: Path
    manifest: Path
    out: Path
    seed: int = 1
    overrides: tuple[str, ...] = ()
    model: Path | None = None
    regime: str | None = None
    lora: str | None = None
    lid: Path = Path("exp/lid")
    lid_mode: str = "token"
    init: Path | None = None
    initial_b: Path | None = None
    initial_parts: tuple[str, ...] = ("b",)
    continuation: Continuation = field(default_factory=Continuation)
    setting: str = "1h"
    tag: str = ""


@dataclass(frozen=True)
class TrainingSetup:
    """A checked request and what follows from it.

    Attributes:
        config: for the experiment's regime.
        train, dev: manifests of the phase; dev may be empty.
        inputs: fingerprint of everything the weights depend on.
        versions: of the code and the packages, for run.json.
    """

    request: TrainingRequest
    experiment: Experiment
    config: TrainConfig
    languages: LanguageTable
    train: list[Manifest]
    dev: list[Manifest]
    inputs: dict[str, str]
    versions: dict[str, str] = field(default_factory=versions)  # at the start: the files may change meanwhile

    @classmethod
    def read(cls, request: TrainingRequest) -> TrainingSetup:
        """Raises ValueError or OSError for the first error found."""
        config = load_yaml(TrainConfig, request.config, parse_overrides(list(request.overrides)))
        table = LanguageTable.load(request.languages)
        source = check_request(request.continuation, table)
        table = language_table(request.continuation, table)
        experiment = _new_experiment(request, table) if source is None else _extended(source, request, config)
        config = config.for_regime(experiment.regime)
        sets = _own_sets(request, source)
        train, dev = (
            [Manifest.open(request.manifest, row.set) for row in sets if row.kind == kind] for kind in ("train", "dev")
        )
        if not train:
            raise ValueError(f"{request.manifest}/sets.tsv: no train set of phase {request.phase}; run stages 1 to 3")
        if source is None:  # a trained model keeps the length that it was trained with
            longest_s = longest_clips_s(train, experiment.model.max_positions)
            experiment = replace(experiment, longest_s=longest_s or None)
        inputs = _fingerprint(request, experiment, config, table, sets)
        _check_compiler(config)
        return cls(request, experiment, config, table, train, dev, inputs)

    def run_record(self) -> TrainingRun:
        """The content of run.json."""
        experiment, request = self.experiment, self.request
        sources = {"alignment": experiment.init, "initial_b": experiment.initial_b, "init_from": experiment.init_from}
        return TrainingRun(
            phase=experiment.phase,
            lora=experiment.lora,
            regime=experiment.regime,
            setting=request.setting,
            seed=experiment.seed,
            tag=request.tag.removesuffix(f"_seed{request.seed}").removeprefix("_"),
            parents={role: directory for role, directory in sources.items() if directory},
            initial_parts=experiment.initial_parts,
            added=experiment.added,
            versions=self.versions,
        )


def _extended(source: Experiment, request: TrainingRequest, config: TrainConfig) -> Experiment:
    """The trained model `source`, with more languages or fine-tuned."""
    for name in ("model", "regime", "lora", "init", "initial_b"):
        if getattr(request, name) is not None:
            raise ValueError(f"--{name}: the model of --init_from has its own; omit this option")
    if request.phase != source.phase:
        raise ValueError(f"--phase {request.phase}: a trained model is continued with --phase {source.phase}")
    if config.absent_language != "hold":
        raise ValueError(
            f"absent_language: {config.absent_language} would update the banks of all other languages; set it to hold"
        )
    return continued_experiment(
        source, request.continuation, lid=request.lid, lid_mode=request.lid_mode, seed=request.seed
    )


def _new_experiment(request: TrainingRequest, table: LanguageTable) -> Experiment:
    """An alignment, or the adaptation of one."""
    if request.model is None:
        raise ValueError(f"--phase {request.phase} needs --model model.yaml")
    model_config = load_yaml(ModelConfig, request.model)
    adapts, lid = request.phase == "sft", None
    if adapts:
        if request.lora is None or request.init is None:
            raise ValueError("--phase sft needs --lora VARIANT and --init DIRECTORY of the alignment (stage 5)")
        check_lora(request.lora)
        if is_routed(request.lora) and not model_config.encoder_lora.learns_embeddings(request.lora):
            lid = load_embeddings(request.lid, request.lid_mode, table.codes)
        Experiment.load(request.init)
        if request.initial_b is not None:
            Experiment.load(request.initial_b)
    return Experiment(
        phase=request.phase,
        regime=request.regime or REGIMES[0],
        lora=request.lora if adapts else None,
        init=str(request.init) if adapts else None,
        languages=tuple(table.codes),
        seed=request.seed,
        model=model_config,
        initial_b=str(request.initial_b) if request.initial_b else None,
        initial_parts=request.initial_parts if request.initial_b else (),
        lid=lid,
    )


def _own_sets(request: TrainingRequest, source: Experiment | None) -> list[SetRow]:
    """The train and dev sets of this phase, so that changes to other sets do not retrain it.

    If languages are added, only their sets. Raises ValueError if one of them has no train set, or if there is a set in
    a language that `source`, the model to fine-tune, does not have.
    """
    table, added = request.manifest / "sets.tsv", request.continuation.add_lang
    rows = [row for row in read_sets(table) if row.is_in(request.phase) and row.kind != "test"]
    for code in added:
        if not any(row.language == code and row.kind == "train" for row in rows):
            raise ValueError(
                f"{table}: no train set of phase sft in {code}; add {code} to conf/datasets.tsv and run stages 1 to 3"
            )
    if source is not None and not added:
        for row in rows:
            if row.language not in source.languages:
                raise ValueError(
                    f"{table}: {row.set} is in {row.language}, which {request.continuation.init_from} does not know; "
                    f"give --add_lang {row.language}, or remove its line from conf/datasets.tsv"
                )
    return [row for row in rows if not added or row.language in added]


def _fingerprint(
    request: TrainingRequest,
    experiment: Experiment,
    config: TrainConfig,
    table: LanguageTable,
    sets: Sequence[SetRow],
) -> dict[str, str]:
    # Another line in the language table must not retrain a model that does not have that language.
    languages = [asdict(language) for language in table.chosen(experiment.languages)] if experiment.init_from else None
    augment = config.augment
    lists = {key: Path(path) for key, path in augment.lists.items()}
    augmented = {"augment": augment, **lists} if augment.active else {}  # without it, fingerprints stay what they were
    tree = experiment.to_tree()
    tree["model"].pop("lid_whisper", None)  # its embeddings are in `lid`
    return fingerprint(
        experiment=tree,
        train=config,
        **{row.set: request.manifest / f"{row.set}.arrow" for row in sets},
        languages=languages or request.languages,
        init=request.init / WEIGHTS if request.init else None,
        initial_b=request.initial_b / WEIGHTS if request.initial_b else None,
        lid=None if experiment.lid is None else experiment.lid.tolist(),
        **augmented,
    )


def _check_compiler(config: TrainConfig) -> None:
    compiler = os.environ.get("CXX", "g++")
    if config.compile and not shutil.which(compiler):
        raise ValueError(f"compile: torch.compile needs a C++ compiler, and {compiler} is missing; set compile=false")
