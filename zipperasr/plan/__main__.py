"""The experiment before it starts: sizes, memory, steps, settings of our own, and what is missing.

In: conf/SCALE, the tables, the language table. Out: tables on stdout. The full-size model is built on the meta device,
from its configuration alone; nothing is downloaded and nothing written. Exit status 0 even if files are missing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.model.build import PHASES
from zipperasr.model.model_config import REGIMES, ModelConfig
from zipperasr.plan.architecture import with_local_backbones
from zipperasr.plan.columns import aligned, section
from zipperasr.plan.gpus import GPUS
from zipperasr.plan.host_memory import host_memory, host_rows
from zipperasr.plan.inventory import format_inventory, take_inventory
from zipperasr.plan.memory import TrainingSetUp, memory_rows, verdict
from zipperasr.plan.operations import STAGE, Machines, operations
from zipperasr.plan.ours import our_rows
from zipperasr.plan.parameters import PhaseSize, build_phases, parameter_rows
from zipperasr.plan.steps import AssumedSpeech, PhaseSteps, plan_phase, step_rows
from zipperasr.prepare.dataset_table import SETTINGS, DatasetRow, load_corpora, load_datasets
from zipperasr.train.train_config import TrainConfig

PAPER_GPUS = {"full": 4, "mini": 1}


@dataclass(frozen=True)
class Configuration:
    """Everything that the stages would read."""

    model_yaml: Path
    model: ModelConfig
    train: dict[str, TrainConfig]
    decode: DecodeConfig
    languages: LanguageTable

    @classmethod
    def load(cls, options: argparse.Namespace) -> Configuration:
        conf = Path("conf") / options.scale
        model_yaml = options.model or conf / "model.yaml"
        overrides = parse_overrides(options.set)
        files = {phase: getattr(options, phase) or conf / f"{phase}.yaml" for phase in PHASES}
        return cls(
            model_yaml=model_yaml,
            model=load_yaml(ModelConfig, model_yaml),
            train={
                phase: load_yaml(TrainConfig, path, overrides).for_regime(options.regime)
                for phase, path in files.items()
            },
            decode=load_yaml(
                DecodeConfig,
                options.decode or conf / "decode.yaml",
                parse_overrides(options.decode_set, "--decode_set"),
            ),
            languages=LanguageTable.load(options.languages),
        )


def dry_run(options: argparse.Namespace) -> None:
    """Print everything. Raises ValueError or FileNotFoundError for a configuration that no stage could read."""
    variant_class(options.lora)
    config = Configuration.load(options)
    codes = config.languages.codes
    local = with_local_backbones(config.model, config.model_yaml)
    model, sizes = build_phases(local, options.lora, codes)
    gpus_per_machine = options.ngpu or PAPER_GPUS[options.scale]
    num_gpus = gpus_per_machine * options.num_nodes
    speech = AssumedSpeech()
    setups = {
        STAGE[phase]: TrainingSetUp(
            model, config.model, phase, sizes[phase], config.train[phase], options.regime, num_gpus, speech
        )
        for phase in PHASES
    }
    phases = _plan(config, options, num_gpus, speech)
    print(section("Model", f"encoder {local.whisper}\nLLM     {local.llm}", f"{options.lora}, {len(codes)} languages"))
    note = _languages_note(config, options, sizes["sft"])
    print(section("Parameters", aligned(parameter_rows(sizes), right=range(1, 5)), *note))
    print(_memory_section(setups, options))
    print(_host_section(setups, gpus_per_machine))
    print(_steps_section(config, phases, options, speech))
    machines = Machines(GPUS[options.gpu], num_gpus, options.mfu)
    print(section("Operations (estimate)", *operations(model, config.model, options.regime, machines, speech, phases)))
    everything = {**config.train, "model": config.model, "decode": config.decode}
    print(section("Settings that are ours, not the paper's", aligned(our_rows(everything, model, options.lora))))
    print(_inventory_section(config, options))


def _languages_note(config: Configuration, options: argparse.Namespace, size: PhaseSize) -> list[str]:
    """Which languages the banks are counted for, where not all of them train."""
    codes = config.languages.codes
    rows = load_datasets(options.datasets, options.setting, config.languages)
    untrained = [code for code in codes if code not in {row.language for row in rows if row.phase == "sft"}]
    if not size.banks or not untrained:
        return []
    return [
        f"banks: one for each of the {len(codes)} languages in {options.languages}, {size.banks // len(codes):,} "
        f"parameters each;\nno stage 2 data for {', '.join(untrained)}: counted, but not updated"
    ]


def _memory_section(setups: dict[str, TrainingSetUp], options: argparse.Namespace) -> str:
    memories = {name: setup.memory() for name, setup in setups.items()}
    first = next(iter(setups.values()))
    checkpointing = "with" if first.model_config.checkpointing else "without"
    limit_gib = options.gpu_gib or GPUS[options.gpu].memory_gib
    conditions = [
        f"{name}: ZeRO-{setup.train.zero_stage}, {setup.train.precision}, micro-batch of {setup.train.packs_per_batch} "
        f"packs of {setup.model_config.max_positions} positions, {options.regime}, {checkpointing} checkpointing"
        for name, setup in setups.items()
    ]
    return section(
        f"Memory of one GPU of {first.num_gpus} (estimate)",
        *conditions,
        aligned(memory_rows(memories), right=(1, 2)),
        *(verdict(name, setup, limit_gib) for name, setup in setups.items()),
    )


def _host_section(setups: dict[str, TrainingSetUp], ranks: int) -> str:
    memories = {name: host_memory(setup) for name, setup in setups.items()}
    title = f"Host memory of a machine with {ranks} training process{'es' if ranks > 1 else ''} (upper estimate)"
    return section(title, aligned(host_rows(memories, ranks), right=(1, 2)))


def _plan(
    config: Configuration, options: argparse.Namespace, num_gpus: int, speech: AssumedSpeech
) -> dict[str, PhaseSteps]:
    """Steps of both phases; {} where the hours are known only after stage 3."""
    if not load_corpora(_corpora(options)).table_hours:
        return {}
    positions = config.model.max_positions
    return {
        STAGE[phase]: plan_phase(rows, config.train[phase], positions, num_gpus, speech.in_languages(rows))
        for phase, rows in _rows_by_phase(config, options).items()
    }


def _rows_by_phase(config: Configuration, options: argparse.Namespace) -> dict[str, list[DatasetRow]]:
    rows = load_datasets(options.datasets, options.setting, config.languages)
    return {phase: [row for row in rows if row.phase == phase] for phase in PHASES}


def _steps_section(
    config: Configuration, phases: dict[str, PhaseSteps], options: argparse.Namespace, speech: AssumedSpeech
) -> str:
    if not phases:
        found = f"known after stage 3: {_corpora(options)} takes all that the corpora hold, not Table I's hours"
        return section("Steps", found)
    by_phase = _rows_by_phase(config, options)
    notes = [f"assumed in {STAGE[phase]}: {speech.in_languages(rows)}" for phase, rows in by_phase.items()]
    return section("Steps (estimate)", aligned(step_rows(phases), right=(1, 2)), *notes)


def _corpora(options: argparse.Namespace) -> Path:
    return options.corpora or Path("conf") / options.scale / "corpora.yaml"


def _inventory_section(config: Configuration, options: argparse.Namespace) -> str:
    weights = [config.model.whisper, config.model.llm]
    items = take_inventory(options.datasets, options.languages, _corpora(options), weights, options.setting)
    missing = sum(item.state != "present" for item in items)
    summary = f"{missing} of {len(items)} are missing. Nothing was downloaded."
    return section("Corpora, lists and weights", format_inventory(items), summary)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--scale", choices=PAPER_GPUS, default="full", help="which of conf/SCALE")
    options.add_argument("--model", type=Path, default=None, help="model.yaml, if not that of the scale")
    options.add_argument("--align", type=Path, default=None, help="align.yaml, if not that of the scale")
    options.add_argument("--sft", type=Path, default=None, help="sft.yaml, if not that of the scale")
    options.add_argument("--decode", type=Path, default=None, help="decode.yaml, if not that of the scale")
    options.add_argument("--corpora", type=Path, default=None, help="corpora.yaml, if not that of the scale")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="the data set table")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="the language table")
    options.add_argument("--lora", default="zipper_soft", help=f"encoder-side LoRA: {', '.join(VARIANTS)}")
    options.add_argument("--regime", choices=REGIMES, default="chunked", help="how the encoder sees an utterance")
    options.add_argument("--setting", choices=SETTINGS, default="1h", help="size of the four small languages")
    options.add_argument("--ngpu", type=int, default=0, help="GPUs of a machine; 0: the paper's 4, or 1 at mini scale")
    options.add_argument("--num_nodes", type=int, default=1, help="machines")
    options.add_argument("--gpu", choices=GPUS, default="a800", help="the card; the paper's are A800s")
    options.add_argument("--gpu_gib", type=float, default=None, help="memory of one GPU, if not the card's")
    options.add_argument("--mfu", type=float, default=0.4, help="assumed share of the card's peak that training uses")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="over align.yaml and sft.yaml")
    options.add_argument("--decode_set", nargs="*", default=[], metavar="KEY=VALUE", help="over decode.yaml")
    return run_step(dry_run, options.parse_args(argv), "dry run")


if __name__ == "__main__":
    sys.exit(main())
