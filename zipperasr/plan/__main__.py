"""Estimate parameters, memory, steps and hours of an experiment, and list missing corpora, lists and weights.

In: conf/SCALE, the data set table, the language table. Out: tables on stdout. The model is built on the meta device
from its configuration alone; nothing is downloaded or written. The exit status is 0 even if files are missing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from zipperasr.audio.segments import REGIMES
from zipperasr.cli import parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.languages import LanguageTable
from zipperasr.lora import LORA_CHOICES, check_lora
from zipperasr.model.model_config import ModelConfig
from zipperasr.plan.columns import aligned, section
from zipperasr.plan.host_memory import host_memory, host_rows
from zipperasr.plan.inventory import format_inventory, take_inventory
from zipperasr.plan.memory import TrainingSetUp, memory_rows, verdict
from zipperasr.plan.operations import GPUS, STAGE, Machines, operations
from zipperasr.plan.ours import our_rows
from zipperasr.plan.parameters import PhaseSize, build_phases, parameter_rows, with_local_backbones
from zipperasr.plan.steps import AssumedSpeech, PhaseSteps, plan_phase, step_rows
from zipperasr.prepare.dataset_table import NO_TRAIN, PHASES, SETTINGS, DatasetRow, load_corpora, load_datasets
from zipperasr.train.train_config import TrainConfig

DEFAULT_GPUS = {"full": 4, "rehearsal": 1, "mini": 1}  # full: the paper's


@dataclass(frozen=True)
class PlanJob:
    """One call of `python -m zipperasr.plan`; the options are described in `main`."""

    scale: str
    model: Path | None
    align: Path | None
    sft: Path | None
    decode: Path | None
    corpora: Path | None
    datasets: Path
    languages: Path
    lora: str
    regime: str
    setting: str
    ngpu: int
    num_nodes: int
    gpu: str
    gpu_gib: float | None
    mfu: float
    set: list[str]
    decode_set: list[str]


@dataclass(frozen=True)
class Configuration:
    """All configuration files that the stages would read."""

    model_yaml: Path
    model: ModelConfig
    train: dict[str, TrainConfig]
    decode: DecodeConfig
    languages: LanguageTable

    @classmethod
    def load(cls, job: PlanJob) -> Configuration:
        conf = Path("conf") / job.scale
        model_yaml = job.model or conf / "model.yaml"
        overrides = parse_overrides(job.set)
        files = {phase: getattr(job, phase) or conf / f"{phase}.yaml" for phase in PHASES}
        return cls(
            model_yaml=model_yaml,
            model=load_yaml(ModelConfig, model_yaml),
            train={
                phase: load_yaml(TrainConfig, path, overrides).for_regime(job.regime) for phase, path in files.items()
            },
            decode=load_yaml(
                DecodeConfig,
                job.decode or conf / "decode.yaml",
                parse_overrides(job.decode_set, "--decode_set"),
            ),
            languages=LanguageTable.load(job.languages),
        )


def print_plan(job: PlanJob) -> None:
    """Print all tables. Raises ValueError or FileNotFoundError for an invalid configuration."""
    check_lora(job.lora)
    config = Configuration.load(job)
    codes = config.languages.codes
    local = with_local_backbones(config.model, config.model_yaml)
    model, sizes = build_phases(local, job.lora, codes)
    gpus_per_machine = job.ngpu or DEFAULT_GPUS[job.scale]
    num_gpus = gpus_per_machine * job.num_nodes
    speech = AssumedSpeech()
    setups = {
        STAGE[phase]: TrainingSetUp(
            model, config.model, phase, sizes[phase], config.train[phase], job.regime, num_gpus, speech
        )
        for phase in PHASES
    }
    phases = _plan(config, job, num_gpus, speech)
    print(section("Model", f"encoder {local.whisper}\nLLM     {local.llm}", f"{job.lora}, {len(codes)} languages"))
    note = _languages_note(config, job, sizes["sft"])
    print(section("Parameters", aligned(parameter_rows(sizes), right=range(1, 5)), *note))
    print(_memory_section(setups, job))
    print(_host_section(setups, gpus_per_machine))
    print(_steps_section(config, phases, job, speech))
    machines = Machines(GPUS[job.gpu], num_gpus, job.mfu)
    print(section("Operations (estimate)", *operations(model, config.model, job.regime, machines, speech, phases)))
    everything = {**config.train, "model": config.model, "decode": config.decode}
    print(section("Settings that the paper does not give", aligned(our_rows(everything, model, job.lora))))
    print(_inventory_section(config, job))


def _languages_note(config: Configuration, job: PlanJob, size: PhaseSize) -> list[str]:
    """A note on banks that are counted but not trained, if some languages have no adaptation data."""
    codes = config.languages.codes
    rows = load_datasets(job.datasets, job.setting, config.languages)
    untrained = [code for code in codes if code not in {row.language for row in rows if row.is_in("sft")}]
    if not size.banks or not untrained:
        return []
    return [
        f"banks: one for each of the {len(codes)} languages in {job.languages}, {size.banks // len(codes):,} "
        f"parameters each;\ncounted but not updated, for lack of adaptation data: {', '.join(untrained)}"
    ]


def _memory_section(setups: dict[str, TrainingSetUp], job: PlanJob) -> str:
    memories = {name: setup.memory() for name, setup in setups.items()}
    first = next(iter(setups.values()))
    checkpointing = "with" if first.model_config.checkpointing else "without"
    limit_gib = job.gpu_gib or GPUS[job.gpu].memory_gib
    conditions = [
        f"{name}: ZeRO-{setup.train.zero_stage}, {setup.train.precision}, micro-batch of {setup.train.packs_per_batch} "
        f"packs of {setup.model_config.max_positions} positions, {job.regime}, {checkpointing} checkpointing"
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


def _plan(config: Configuration, job: PlanJob, num_gpus: int, speech: AssumedSpeech) -> dict[str, PhaseSteps]:
    """Steps of both phases; {} if the hours of audio are not known."""
    if not load_corpora(_corpora(job)).table_hours:
        return {}
    positions = config.model.max_positions
    return {
        STAGE[phase]: plan_phase(rows, config.train[phase], positions, num_gpus, speech.in_languages(rows))
        for phase, rows in _rows_by_phase(config, job).items()
    }


def _rows_by_phase(config: Configuration, job: PlanJob) -> dict[str, list[DatasetRow]]:
    rows = load_datasets(job.datasets, job.setting, config.languages)
    trained = [row for row in rows if row.train_split != NO_TRAIN]
    return {phase: [row for row in trained if row.is_in(phase)] for phase in PHASES}


def _steps_section(config: Configuration, phases: dict[str, PhaseSteps], job: PlanJob, speech: AssumedSpeech) -> str:
    if not phases:
        note = f"not estimated: {_corpora(job)} uses all data of the corpora; stage 3 logs the packs of each phase"
        return section("Steps", note)
    by_phase = _rows_by_phase(config, job)
    notes = [f"assumed in {STAGE[phase]}: {speech.in_languages(rows)}" for phase, rows in by_phase.items()]
    return section("Steps (estimate)", aligned(step_rows(phases), right=(1, 2)), *notes)


def _corpora(job: PlanJob) -> Path:
    return job.corpora or Path("conf") / job.scale / "corpora.yaml"


def _inventory_section(config: Configuration, job: PlanJob) -> str:
    weights = [config.model.whisper, config.model.llm]
    items = take_inventory(job.datasets, job.languages, _corpora(job), weights, job.setting)
    missing = sum(item.state != "present" for item in items)
    summary = f"{missing} of {len(items)} items are missing. Nothing was downloaded."
    return section("Corpora, lists and weights", format_inventory(items), summary)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--scale", choices=DEFAULT_GPUS, default="full", help="configuration directory conf/SCALE")
    options.add_argument("--model", type=Path, default=None, help="model.yaml; default: conf/SCALE/model.yaml")
    options.add_argument("--align", type=Path, default=None, help="align.yaml; default: conf/SCALE/align.yaml")
    options.add_argument("--sft", type=Path, default=None, help="sft.yaml; default: conf/SCALE/sft.yaml")
    options.add_argument("--decode", type=Path, default=None, help="decode.yaml; default: conf/SCALE/decode.yaml")
    options.add_argument("--corpora", type=Path, default=None, help="corpora.yaml; default: conf/SCALE/corpora.yaml")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="data set table")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--lora", default="zipper_soft", help=f"LoRA of the encoder: {', '.join(LORA_CHOICES)}")
    options.add_argument("--regime", choices=REGIMES, default="chunked", help="encoder regime")
    options.add_argument("--setting", choices=SETTINGS, default="1h", help="training hours per low-resource language")
    options.add_argument(
        "--ngpu", type=int, default=0, help="GPUs per machine; 0: 4 as in the paper, or 1 at mini scale"
    )
    options.add_argument("--num_nodes", type=int, default=1, help="number of machines")
    options.add_argument("--gpu", choices=GPUS, default="a800", help="GPU model; the paper used A800s")
    options.add_argument("--gpu_gib", type=float, default=None, help="memory of one GPU in GiB; default: by --gpu")
    options.add_argument("--mfu", type=float, default=0.4, help="assumed model FLOPs utilisation of training")
    options.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="override keys of align.yaml and sft.yaml"
    )
    options.add_argument(
        "--decode_set", nargs="*", default=[], metavar="KEY=VALUE", help="override keys of decode.yaml"
    )
    return run_step(print_plan, PlanJob(**vars(options.parse_args(argv))), "zipperasr.plan")


if __name__ == "__main__":
    sys.exit(main())
