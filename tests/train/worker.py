"""Program of each rank in the training tests: the same trainings for any number of ranks.

In: a tiny recipe and an output directory; torch.distributed's environment variables must be set. Out: training
directories. Of two ranks, each takes one pack per step; a single process takes both. The global batches, and so the
weights, must be equal.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import soundfile
import yaml

from tests.model import tiny
from tests.train.tiny_recipe import below, options, options_of_new_language, write_lines
from zipperasr.config import load_yaml
from zipperasr.lora import LORA_CHOICES, VARIANTS
from zipperasr.train.train_config import TrainConfig

TIMEOUT_S = 600
OWN = "bank own_projector"  # what is trained for an added language
BAD_STEP = 2  # of the training with a NaN loss
STOP_AFTER = 5  # steps of the interrupted training, which has checkpoints after 2 and 4


def launch(base: Path, out: Path, world_size: int) -> None:
    """Run this file with `world_size` ranks. Raises RuntimeError with the end of each failed rank's output."""
    settings = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    settings |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.train.worker", str(base), str(out)]
    root = Path(__file__).resolve().parents[2]
    write_german_manifest(base / "dump/manifest", out / "german")
    write_learned(base / "conf/model.yaml", out / "learned.yaml")
    ranks = []
    for rank in range(world_size):
        environment = {**os.environ, **settings, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with log_of(out, rank).open("w") as log:
            ranks.append(subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log))
    wait(ranks)
    failed = [log_of(out, rank).read_text()[-3000:] for rank, process in enumerate(ranks) if process.returncode]
    if failed:
        raise RuntimeError("\n".join(failed))


def write_german_manifest(source: Path, manifest: Path) -> None:
    """Copy the German sets of a manifest."""
    manifest.mkdir()
    header, *rows = (source / "sets.tsv").read_text().splitlines()
    write_lines(manifest / "sets.tsv", header, *(row for row in rows if row.endswith("de")))
    for path in source.glob("*_de.arrow"):
        shutil.copy(path, manifest)


def write_learned(source: Path, target: Path) -> None:
    """Copy model.yaml with a router that learns its language embeddings."""
    model = yaml.safe_load(source.read_text())
    model["encoder_lora"]["zipper_soft"] = {"learned_embeddings": 6}
    target.write_text(yaml.safe_dump(model))


def wait(ranks: list[subprocess.Popen]) -> None:
    """Wait until all ranks finish, one fails or the time is up; then kill the others, which would wait forever."""
    deadline = time.monotonic() + TIMEOUT_S
    while any(process.poll() is None for process in ranks) and time.monotonic() < deadline:
        if any(process.poll() for process in ranks):
            break
        time.sleep(0.1)
    for process in ranks:
        if process.poll() is None:
            process.kill()
            process.wait()


def log_of(out: Path, rank: int) -> Path:
    return out / f"rank{rank}.log"


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def main(base: Path, out: Path) -> None:
    from zipperasr.stages.train import main as train

    world_size = int(os.environ["WORLD_SIZE"])
    packs = f"packs_per_batch={2 // world_size}"

    def run(phase: str, name: str, *more: str, settings: tuple[str, ...] = (packs,), must: int = 0) -> None:
        paths = options(base, config=f"conf/{phase}.yaml", manifest="dump/manifest", lid="exp/lid")
        status = train(["--phase", phase, "--out", str(out / name), *paths, *more, "--set", *settings])
        if status != must:
            raise RuntimeError(f"{name}: exit status {status}")

    run("align", "align")
    sft = ("--init", str(out / "align"), "--lora", "zipper_soft")
    run("sft", "sft", *sft)
    run("sft", "dense", *sft, settings=(packs, "absent_language=dense"))
    run("sft", "bf16", *sft, settings=(packs, "precision=bf16"))
    run("sft", "learned", *sft, "--model", str(out / "learned.yaml"))
    run_and_cut_off(run, "resumed", *sft)
    run("sft", "resumed", *sft)
    run_with_a_bad_loss(run, sft)
    run_augmented(run, sft, augment_settings(out), packs)
    for lora in LORA_CHOICES:
        run_in_float64(run, f"{lora}_fp64", *sft[:2], "--lora", lora, packs=packs)
    add = functools.partial(add_italian, base, out, packs)
    add("added", "sft")
    add("added_own", "sft", parts=OWN)
    tune = functools.partial(tune_german, base, out, packs)
    tune("tuned", "sft")
    if world_size == 1:
        tune("tuned_all", "sft", parts="all")
        run_and_cut_off(lambda _, name, *more: tune(name, "sft"), "tuned_resumed")
        tune("tuned_resumed", "sft")
        run("sft", "accumulated", *sft, settings=("packs_per_batch=1", "accumulation=2"))
        run("sft", "zero0", *sft, settings=(packs, "zero_stage=0"))
        run("sft", "full", *sft, "--regime", "full", settings=("packs_per_batch={chunked: 1, full: 2}",))
        padded = out / "padded.yaml"
        padded.write_text((base / "conf" / "model.yaml").read_text() + "pad_to_30s: true\n")
        run("sft", "padded", *sft, "--regime", "full", "--model", str(padded), settings=(packs, "epochs=1"))
        unsharded = (packs, "zero_stage=0", "precision=bf16")
        run("sft", "zero0_bf16", *sft, settings=unsharded)
        run_and_cut_off(run, "zero0_bf16_resumed", *sft, settings=unsharded)
        run("sft", "zero0_bf16_resumed", *sft, settings=unsharded)
        for lora, precision in itertools.product(LORA_CHOICES, ("fp32", "bf16")):
            of_variant, settings = (*sft[:2], "--lora", lora), (packs, f"precision={precision}")
            run("sft", f"{lora}_{precision}", *of_variant, settings=settings)
            run_and_cut_off(run, f"{lora}_{precision}_resumed", *of_variant, settings=settings)
            run("sft", f"{lora}_{precision}_resumed", *of_variant, settings=settings)
        for lora, variant in VARIANTS.items():
            add(f"{lora}_added", f"{lora}_fp32", parts=OWN if variant.bank_starts else "all")
        tune("tuned_vanilla", "vanilla_fp32", parts="all")
        add("added_bf16", "sft", setting="precision=bf16")
        add("added_own_bf16", "sft", parts=OWN, setting="precision=bf16")
        add("added_own_zero0", "sft", parts=OWN, setting="zero_stage=0")
        add("added_best", "sft", setting="average_best=2")
        add("added_all", "sft", parts="all")
        run_and_cut_off(lambda _, name, *more: add(name, "sft"), "added_resumed")
        add("added_resumed", "sft")
        run("sft", "best", *sft, settings=(packs, "average_best=2"))
        run("sft", "stopped", *sft, settings=(packs, "early_stop=1", "lr=0.0"))
        run("sft", "diverged", *sft, settings=(packs, "lr=1e18", "max_skipped=2"), must=1)


def augment_settings(out: Path) -> str:
    """The override that turns on everything: the shipped settings, as often as possible, and with recordings."""
    shipped = Path(__file__).resolve().parents[2] / "egs2/zipper12/asr1/conf/mini/sft_augment.yaml"
    for number, seconds in enumerate((0.3, 2.0)):
        soundfile.write(out / f"noise{number}.wav", tiny.noise(int(16_000 * seconds), number).numpy(), 16_000)
    write_lines(out / "noise.txt", *(str(out / f"noise{number}.wav") for number in range(2)))
    augment = load_yaml(TrainConfig, shipped).augment
    shares = dict.fromkeys(("reverb", "noise", "telephone", "spec"), 0.8)
    augment = replace(augment, **shares, freq_width=2, noise_list=str(out / "noise.txt"))  # of 8 mel bins
    return f"augment={json.dumps(asdict(augment))}"


def run_augmented(run, sft: tuple[str, ...], augment: str, packs: str) -> None:
    """Train with augmented utterances; alone also with workers, interrupted, and without learning anything."""
    run("sft", "augmented", *sft, settings=(packs, augment))
    if int(os.environ["WORLD_SIZE"]) > 1:
        return
    run("sft", "augmented_by_workers", *sft, settings=(packs, augment, "num_workers=2", "features_on_device=true"))
    run_and_cut_off(run, "augmented_resumed", *sft, settings=(packs, augment))
    run("sft", "augmented_resumed", *sft, settings=(packs, augment))
    run("sft", "augmented_stopped", *sft, settings=(packs, augment, "early_stop=1", "lr=0.0"))


def add_italian(base: Path, out: Path, packs: str, name: str, source: str, parts="bank", setting="eval_first=true"):
    """Add Italian to the training `source`, and write to <name>/moved.json how far each weight moved."""
    from zipperasr.stages.train import main as train
    from zipperasr.train.loop import Trainer

    whole_run = Trainer.run

    def run_and_look(trainer):
        before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
        mean = whole_run(trainer)
        if os.environ["RANK"] == "0":
            (trainer.out / "moved.json").write_text(json.dumps(moved(trainer, before)))
        return mean

    Trainer.run = run_and_look
    how = ["--init_from", str(out / source), "--add_lang", "it", "--out", str(out / name)]
    how += ["--train_parts", *parts.split()]
    try:
        status = train([*options_of_new_language(base), *how, "--set", packs, "epochs=3", "eval_first=true", setting])
    finally:
        Trainer.run = whole_run
    if status:
        raise RuntimeError(f"{name}: exit status {status}")


def tune_german(base: Path, out: Path, packs: str, name: str, source: str, parts="bank"):
    """Fine-tune the training `source` on the German sets alone."""
    from zipperasr.stages.train import main as train

    how = ["--init_from", str(out / source), "--train_parts", parts, "--out", str(out / name)]
    paths = {"languages": "conf/languages.tsv", "config": "conf/sft.yaml", "lid": "exp/lid"}
    argv = ["--phase", "sft", *below(base, **paths), "--manifest", str(out / "german"), *how]
    if train([*argv, "--set", packs, "epochs=3", "eval_first=true"]):
        raise RuntimeError(f"{name}: failed")


def moved(trainer, before: dict) -> dict[str, list[float] | float]:
    """The largest change of each parameter and the largest moment; per language for banks."""
    result = {}
    for name, parameter in trainer.model.named_parameters():
        distance = (parameter.detach() - before[name]).abs()
        banks = name.endswith("_specific")
        result[name] = distance.flatten(1).amax(1).tolist() if banks else distance.max().item()
    moments = [0.0] * len(trainer.optimiser.present)
    for partition, bank in trainer.optimiser.bank_of_element.items():
        for language in range(len(moments)):
            for key in ("exp_avg", "exp_avg_sq"):
                mine = trainer.optimiser.state[partition][key].flatten()[bank.flatten() == language]
                moments[language] = max([moments[language], *mine.abs().tolist()])
    return {**result, "moments": moments}


class CutOff(BaseException):
    """Simulates a power failure."""


def run_and_cut_off(run, name: str, *sft: str, **more: object) -> None:
    """Train into `name` and stop within a step, as if killed."""
    from zipperasr.train.loop import Trainer

    whole_step = Trainer._step

    def step_or_stop(trainer, step, batches):
        if step == STOP_AFTER:
            raise CutOff
        return whole_step(trainer, step, batches)

    Trainer._step = step_or_stop
    try:
        run("sft", name, *sft, **more)
    except CutOff:
        pass
    finally:
        Trainer._step = whole_step


def run_in_float64(run, name: str, *sft: str, packs: str) -> None:
    """Train into `name` in float64, with an eps so large that a step is proportional to the gradient.

    With the usual eps, rounding noise in a small gradient would change a weight by as much as a whole step, and
    Qwen3's norms round to float32 in any precision.
    """
    from zipperasr.train import engine
    from zipperasr.train import run_training as training

    build, optimiser = training.build_for_training, engine.LanguageAdamW
    training.build_for_training = lambda *inputs, **more: build(*inputs, **more).double()
    engine.LanguageAdamW = functools.partial(optimiser, eps=1.0)
    try:
        run("sft", name, *sft, settings=(packs, "lr=0.5"))
    finally:
        training.build_for_training, engine.LanguageAdamW = build, optimiser


def run_with_a_bad_loss(run, sft: tuple[str, ...]) -> None:
    """Train into `skipped` with a NaN loss on one rank in one step, as a faulty machine may produce."""
    from zipperasr.model.speech_llm import SpeechLLM
    from zipperasr.train.loop import Trainer

    prepare, forward, now = Trainer._prepare_update, SpeechLLM.forward, {}

    def prepare_and_note(trainer, step):
        now["step"] = step
        prepare(trainer, step)

    def forward_or_nan(model, *inputs, **more):
        loss, stats, weight = forward(model, *inputs, **more)
        bad = model.training and now["step"] == BAD_STEP and os.environ["RANK"] == "0"
        return loss * float("nan") if bad else loss, stats, weight

    Trainer._prepare_update, SpeechLLM.forward = prepare_and_note, forward_or_nan
    try:
        run("sft", "skipped", *sft)
    finally:
        Trainer._prepare_update, SpeechLLM.forward = prepare, forward


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
