"""Check all settings before the first stage, so that a mistake is reported within seconds.

Called by asr.sh with its own options. Reads the recipe's tables and conf/SCALE, and prints the first error, or nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.cli import nearest, parser, run_step, shortened
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.model.backbone_checks import check_backbones, check_language_embeddings
from zipperasr.ranges import SHARE

COUNTS = {  # option: (smallest value, meaning)
    "nj": (1, "parallel jobs for data preparation and scoring"),
    "inference_ngpu": (1, "GPUs of each job for decoding and language embeddings"),
    "inference_nj": (1, "number of these jobs"),
    "retries": (0, "how often a failed job runs again"),
    "nproc": (1, "training processes without GPUs"),
    "ngpu": (0, "GPUs per machine"),
    "num_nodes": (1, "number of machines"),
    "node_rank": (0, "rank of this machine, from 0"),
    "seed": (0, "random seed"),
}
SHARES = {  # option: (default, meaning)
    "max_missing_share": ("0.01", "largest share of a set's utterances that may be missing"),
    "max_quarantine_share": ("0.01", "largest share of a set's utterances that may be unusable"),
}
LOCAL_RUNNER = "utils/run.sh"


@dataclass(frozen=True)
class Settings:
    """The options of asr.sh, by name. Numbers are still text."""

    stages: Sequence[int]
    conf: Path
    sft_config: Path | None
    decode_config: Path | None
    datasets: Path
    languages: Path
    setting: str
    lora: str
    regime: str
    lid_mode: str
    initial_b: Path | None
    initial_parts: Sequence[str]
    init_from: Path | None
    add_lang: Sequence[str]
    bank_from: str
    train_parts: Sequence[str]
    eval_lang: Sequence[str]
    eval_phases: Sequence[str]
    alignment_sets: str
    nj: str
    inference_nj: str
    inference_ngpu: str
    retries: str
    nproc: str
    ngpu: str
    num_nodes: str
    node_rank: str
    seed: str
    max_missing_share: str
    max_quarantine_share: str
    master: str
    hostfile: str
    gpu_inference: str
    cuda_cmd: str
    train_args: list[str]
    decode_args: list[str]


def main(argv: list[str] | None = None) -> int:
    from zipperasr.stages.train import add_continuation_options

    options = parser(__doc__)
    options.add_argument("--stages", type=int, nargs="*", default=list(range(10)), metavar="N", help="stages to run")
    options.add_argument("--conf", type=Path, default=Path("conf/mini"), help="configuration of the scale")
    options.add_argument("--sft_config", type=Path, help="configuration of stage 6; default: sft.yaml in --conf")
    options.add_argument("--decode_config", type=Path, help="configuration of stage 7; default: decode.yaml in --conf")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="dataset table")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--setting", default="1h", help="training hours per low-resource language")
    options.add_argument("--lora", default="zipper_soft", help="LoRA of the encoder")
    options.add_argument("--regime", default="chunked", help="encoder context")
    options.add_argument("--lid_mode", default="token", help="language embedding of the router")
    options.add_argument("--initial_b", type=Path, help="trained model to initialise B from")
    options.add_argument("--initial_parts", nargs="*", default=["b"], help="parameters to copy from --initial_b")
    add_continuation_options(options)
    options.add_argument("--eval_lang", nargs="*", default=[], metavar="CODE", help="languages to decode and score")
    options.add_argument("--eval_phases", nargs="*", default=["sft"], help="phases of the models to decode")
    options.add_argument("--alignment_sets", default="own", help="test sets that an alignment decodes")
    for name, (least, meaning) in COUNTS.items():
        options.add_argument(f"--{name}", default=str(least), metavar="N", help=meaning)
    for name, (default, meaning) in SHARES.items():
        options.add_argument(f"--{name}", default=default, metavar="SHARE", help=meaning)
    options.add_argument("--master", default="", metavar="HOST:PORT", help="address of machine 0")
    options.add_argument("--hostfile", default="", help="DeepSpeed host file")
    options.add_argument(
        "--gpu_inference", choices=["true", "false"], default="false", help="whether stage 7 decodes on GPUs"
    )
    options.add_argument("--cuda_cmd", default=LOCAL_RUNNER, help="command that runs the training and decoding jobs")
    options.add_argument(
        "--train_args", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of align.yaml and sft.yaml"
    )
    options.add_argument("--decode_args", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of decode.yaml")
    chosen = options.parse_args(argv)
    return run_step(lambda _: check(Settings(**vars(chosen))), chosen, "preflight")


def check(settings: Settings) -> None:
    """Raise ValueError or OSError for the first mistake."""
    from zipperasr.batching.clip_config import ClipConfig
    from zipperasr.decode.decode_config import ALIGNMENT_SETS, DecodeConfig
    from zipperasr.languages import LanguageTable
    from zipperasr.lora import NO_LORA
    from zipperasr.model.experiment import Experiment
    from zipperasr.prepare.dataset_table import load_corpora, load_datasets
    from zipperasr.train.continuation import Continuation, check_request

    counts = {name: check_integer(f"--{name}", getattr(settings, name), least) for name, (least, _) in COUNTS.items()}
    for name in SHARES:
        check_share(f"--{name}", getattr(settings, name))
    check_names(
        settings.conf, settings.setting, settings.regime, settings.lora, settings.lid_mode, settings.initial_parts
    )
    if settings.initial_b is not None:
        if settings.lora == NO_LORA:
            raise ValueError(f"--initial_b {settings.initial_b}: --lora {NO_LORA} has no B to initialise")
        Experiment.load(settings.initial_b)
    table = LanguageTable.load(settings.languages)
    added = Continuation(settings.init_from, tuple(settings.add_lang), settings.bank_from, tuple(settings.train_parts))
    check_request(added, table)
    rows = load_datasets(settings.datasets, settings.setting, table)
    for phase in settings.eval_phases:
        tested = sorted({row.language for row in rows if row.is_in(phase)})
        check_test_languages(settings.eval_lang, tested, f"{settings.datasets} (phase {phase})")
    _choose("alignment_sets", settings.alignment_sets, ALIGNMENT_SETS)
    load_corpora(settings.conf / "corpora.yaml")
    ClipConfig.load(settings.conf / "clips.yaml")
    trainings = {5: settings.conf / "align.yaml", 6: settings.sft_config or settings.conf / "sft.yaml"}
    decode = settings.decode_config or settings.conf / "decode.yaml"
    check_training(tuple(trainings.values()), settings.train_args, settings.regime)
    decoding = load_yaml(DecodeConfig, decode, parse_overrides(settings.decode_args, "--decode_args"))
    if 7 in settings.stages:
        check_decoding_device(decoding.quantize, decoding.cuda_graphs, settings.gpu_inference == "true")
    check_backbones(settings.conf / "model.yaml", settings.stages)
    if settings.init_from is None and {4, 6} & set(settings.stages):
        check_language_embeddings(settings.conf / "model.yaml", settings.lora)
    started = [path for stage, path in trainings.items() if stage in settings.stages]
    check_augmentation(started, settings.train_args, settings.conf / "model.yaml")
    local = settings.cuda_cmd.split()[0] == LOCAL_RUNNER and not settings.hostfile
    if local and counts["num_nodes"] > 1 and "SLURM_JOB_NODELIST" not in os.environ:
        check_machines(counts["num_nodes"], counts["node_rank"], settings.master)
    if local:
        check_gpus(counts["ngpu"])


def check_integer(name: str, text: str, least: int) -> int:
    """Parse an option's value. Raises ValueError unless it is an integer of at least `least`."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise ValueError(f"{name} {shortened(text)}: wanted an integer, at least {least}")
    return int(text)


def check_share(name: str, text: str) -> None:
    """Raise ValueError unless an option's value is a number from 0 to 1."""
    try:
        good = SHARE.holds(float(text))
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{name} {shortened(text)}: wanted a share, {SHARE}")


def check_names(conf: Path, setting: str, regime: str, lora: str, lid_mode: str, initial_parts: Sequence[str]) -> None:
    """Raise ValueError for a name that is not one of the known ones."""
    from zipperasr.audio.segments import REGIMES
    from zipperasr.lid.stored_embeddings import MODES
    from zipperasr.lora import check_lora
    from zipperasr.model.experiment import INITIAL_PARTS
    from zipperasr.prepare.dataset_table import SETTINGS

    _choose("scale", conf.name, sorted(path.name for path in conf.parent.iterdir() if path.is_dir()))
    _choose("setting", setting, SETTINGS)
    _choose("regime", regime, REGIMES)
    check_lora(lora)
    _choose("lid_mode", lid_mode, MODES)
    for part in initial_parts:
        _choose("part for --initial_parts", part, list(INITIAL_PARTS))


def check_test_languages(codes: Sequence[str], tested: Sequence[str], where: str) -> None:
    """Raise ValueError if a language of --eval_lang is not one of those with a test set."""
    for code in codes:
        if code not in tested:
            raise ValueError(f"--eval_lang {shortened(code)}: no test set in {where}; {nearest(code, tested)}")


def check_training(files: Sequence[Path], train_args: list[str], regime: str) -> None:
    """Read the training configurations with their overrides. Raises ValueError or FileNotFoundError."""
    from zipperasr.train.train_config import TrainConfig

    for path in files:
        load_yaml(TrainConfig, path, parse_overrides(train_args, "--train_args")).for_regime(regime)


def check_augmentation(files: Sequence[Path], train_args: list[str], model_yaml: Path) -> None:
    """Check the augmentation of training configurations against the model, and its lists of recordings."""
    from zipperasr.batching.augmenter import Augmenter
    from zipperasr.model.model_config import ModelConfig
    from zipperasr.train.train_config import TrainConfig

    mel_bins = load_yaml(ModelConfig, model_yaml).mel_bins
    for path in files:
        config = load_yaml(TrainConfig, path, parse_overrides(train_args, "--train_args"))
        Augmenter.make(config.augment, seed=0, mel_bins=mel_bins)


def check_decoding_device(quantize: str, cuda_graphs: bool, on_gpu: bool) -> None:
    """Raise ValueError if stage 7 runs on another device than a setting is for."""
    if on_gpu and quantize != "none":
        raise ValueError(
            f"quantize: {quantize} is for CPUs, but stage 7 uses GPUs; set --gpu_inference false or quantize=none"
        )
    if cuda_graphs and not on_gpu:
        raise ValueError(
            "cuda_graphs: true is for GPUs, but stage 7 uses CPUs; set --gpu_inference true or cuda_graphs=false"
        )


def check_machines(num_nodes: int, node_rank: int, master: str) -> None:
    """Raise ValueError if the machines of a distributed training cannot find each other."""
    if node_rank >= num_nodes:
        raise ValueError(f"--node_rank {node_rank}: wanted 0 to {num_nodes - 1} with --num_nodes {num_nodes}")
    host, _, port = master.rpartition(":")
    if not master:
        raise ValueError(
            f"--num_nodes {num_nodes} needs --master HOST:PORT of machine 0, or --hostfile, or CMD_BACKEND=slurm"
        )
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(f"--master {shortened(master)}: wanted HOST:PORT, such as node1:29500")


def check_gpus(ngpu: int) -> None:
    """Raise ValueError if this machine has fewer GPUs than `ngpu`."""
    if ngpu:
        import torch

        found = torch.cuda.device_count()
        if ngpu > found:
            raise ValueError(
                f"--ngpu {ngpu}: torch finds {found} GPUs on this machine; run ../../../tools/check_install.py"
            )


def _choose(what: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise ValueError(f"unknown {what} {got!r}; {nearest(got, list(known))}")


if __name__ == "__main__":
    sys.exit(main())
