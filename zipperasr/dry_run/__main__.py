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
from zipperasr.data.datasets import SETTINGS, load_corpora, load_datasets
from zipperasr.data.inventory import format_inventory, take_inventory
from zipperasr.decode.config import DecodeConfig
from zipperasr.dry_run.architecture import with_local_backbones
from zipperasr.dry_run.columns import aligned, section
from zipperasr.dry_run.flops import Lengths, step_flops
from zipperasr.dry_run.memory import TrainingSetUp, memory_rows, verdict
from zipperasr.dry_run.ours import our_rows
from zipperasr.dry_run.parameters import build_phases, parameter_rows
from zipperasr.dry_run.steps import AssumedSpeech, plan_phase, step_rows
from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.model.build import PHASES
from zipperasr.model.config import REGIMES, ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.train.config import TrainConfig

STAGE = {"align": "stage 1", "sft": "stage 2"}
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
            decode=load_yaml(DecodeConfig, options.decode or conf / "decode.yaml", parse_overrides(options.decode_set)),
            languages=LanguageTable.load(options.languages),
        )


def dry_run(options: argparse.Namespace) -> None:
    """Print everything. Raises ValueError or FileNotFoundError for a configuration that no stage could read."""
    variant_class(options.lora)
    config = Configuration.load(options)
    codes = config.languages.codes
    local = with_local_backbones(config.model, config.model_yaml)
    model, sizes = build_phases(local, options.lora, codes)
    num_gpus = (options.ngpu or PAPER_GPUS[options.scale]) * options.num_nodes
    speech = AssumedSpeech()
    setups = {
        STAGE[phase]: TrainingSetUp(
            model, config.model, phase, sizes[phase], config.train[phase], options.regime, num_gpus, speech
        )
        for phase in PHASES
    }
    print(section("Model", f"encoder {local.whisper}\nLLM     {local.llm}", f"{options.lora}, {len(codes)} languages"))
    print(section("Parameters", aligned(parameter_rows(sizes), right=range(1, 5))))
    print(_memory_section(setups, options))
    print(_steps_section(config, options, num_gpus, speech))
    print(_operations_section(config, options, model, num_gpus, speech))
    everything = {**config.train, "model": config.model, "decode": config.decode}
    print(section("Settings that are ours, not the paper's", aligned(our_rows(everything, model, options.lora))))
    print(_inventory_section(config, options))


def _memory_section(setups: dict[str, TrainingSetUp], options: argparse.Namespace) -> str:
    memories = {name: setup.memory() for name, setup in setups.items()}
    first = next(iter(setups.values()))
    checkpointing = "with" if first.model_config.checkpointing else "without"
    conditions = [
        f"{name}: ZeRO-{setup.train.zero_stage}, {setup.train.precision}, micro-batch of {setup.train.packs_per_batch} "
        f"packs of {setup.model_config.max_positions} positions, {options.regime}, {checkpointing} checkpointing"
        for name, setup in setups.items()
    ]
    return section(
        f"Memory of one GPU of {first.num_gpus} (estimate)",
        *conditions,
        aligned(memory_rows(memories), right=(1, 2)),
        *(verdict(name, setup, options.gpu_gib) for name, setup in setups.items()),
    )


def _steps_section(config: Configuration, options: argparse.Namespace, num_gpus: int, speech: AssumedSpeech) -> str:
    corpora = options.corpora or Path("conf") / options.scale / "corpora.yaml"
    if not load_corpora(corpora).table_hours:
        return section("Steps", f"known after stage 3: {corpora} takes all that the corpora hold, not Table I's hours")
    rows = load_datasets(options.datasets, options.setting, config.languages)
    by_phase = {phase: [row for row in rows if row.phase == phase] for phase in PHASES}
    assumed = {phase: speech.in_languages(by_phase[phase]) for phase in PHASES}
    positions = config.model.max_positions
    phases = {
        STAGE[phase]: plan_phase(by_phase[phase], config.train[phase], positions, num_gpus, assumed[phase])
        for phase in PHASES
    }
    notes = [f"assumed in {STAGE[phase]}: {one}" for phase, one in assumed.items()]
    return section("Steps (estimate)", aligned(step_rows(phases), right=(1, 2)), *notes)


def _operations_section(
    config: Configuration, options: argparse.Namespace, model: SpeechLLM, num_gpus: int, speech: AssumedSpeech
) -> str:
    """What an hour of speech costs, and how long the phases' hours take at an assumed utilisation."""
    longest_s = 30.0 if options.regime == "full" else config.model.decode_chunk_s
    lengths = Lengths.assumed(1.0, speech, longest_s)
    costs = {STAGE[phase]: step_flops(model, phase, lengths) for phase in PHASES}
    speed = options.mfu * options.gpu_tflops * 1e12 * num_gpus
    rows = [("", *costs)]
    for part in ("encoder", "projector", "llm", "lm_head", "total"):
        rows.append(
            (f"GFLOP a second of speech: {part}", *(f"{getattr(c, part) / 3.6e12:.1f}" for c in costs.values()))
        )
    rows.append(("seconds of speech per second", *(f"{3600 * speed / cost.total:,.0f}" for cost in costs.values())))
    rows.append(("hours for 1,000 hours", *(f"{cost.total * 1000 / speed / 3600:.2f}" for cost in costs.values())))
    assumed = f"assumed: {num_gpus} GPUs at {100 * options.mfu:g} % of {options.gpu_tflops:g} TFLOP/s; recomputed "
    return section("Operations (estimate)", aligned(rows, right=(1, 2)), f"{assumed}activations do not count as use")


def _inventory_section(config: Configuration, options: argparse.Namespace) -> str:
    corpora = options.corpora or Path("conf") / options.scale / "corpora.yaml"
    weights = [config.model.whisper, config.model.llm]
    items = take_inventory(options.datasets, options.languages, corpora, weights, options.setting)
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
    options.add_argument("--gpu_gib", type=float, default=80.0, help="memory of one GPU")
    options.add_argument("--gpu_tflops", type=float, default=989.0, help="of one GPU at best; an H100's in bfloat16")
    options.add_argument("--mfu", type=float, default=0.4, help="share of that which training is assumed to use")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="over align.yaml and sft.yaml")
    options.add_argument("--decode_set", nargs="*", default=[], metavar="KEY=VALUE", help="over decode.yaml")
    return run_step(dry_run, options.parse_args(argv), "dry run")


if __name__ == "__main__":
    sys.exit(main())
