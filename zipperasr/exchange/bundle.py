"""Write and open bundles: one zip with everything a trained model needs, its model card included.

In: a training directory. Out: a zip that `load_pretrained` opens like the directory. Paths inside are relative to the
root. Backbones can be replaced with hub ids, which keeps the zip small; users then download them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from huggingface_hub import snapshot_download

import zipperasr
from zipperasr.align.aligner import CONFIG as ALIGNER_CONFIG
from zipperasr.align.aligner import WEIGHTS as ALIGNER_WEIGHTS
from zipperasr.align.aligner import Aligner
from zipperasr.atomic import atomic_path, read_record
from zipperasr.cli import log
from zipperasr.exchange.archive import MANIFEST, SUFFIXES, read_manifest, unpack, write_archive
from zipperasr.exchange.licences import FILE as LICENCES
from zipperasr.exchange.licences import licence_notes
from zipperasr.exchange.model_card import FILE as CARD
from zipperasr.exchange.model_card import model_card
from zipperasr.model.backbone_files import check_local
from zipperasr.model.bundle_paths import INIT, META, check_name, is_hub_id
from zipperasr.model.experiment import CONFIG, LANGUAGES, WEIGHTS, Experiment, weights_digest
from zipperasr.model.training_chain import training_chain
from zipperasr.model.training_sizes import check_ranks
from zipperasr.model.weights_file import check_weights

FORM = "zipperasr bundle 1"
BACKBONES = ("whisper", "llm")
CALIBRATION = "confidence.json"  # of zipperasr.transcribe, which imports this package
KEPT = ("run.json", "router_final.json")  # optional files of a training


@dataclass(frozen=True)
class HubIds:
    """Hub ids of backbones to refer to instead of including them in a bundle."""

    whisper: str | None = None
    llm: str | None = None


def write_bundle(directory: Path, out: Path, hub: HubIds | None = None) -> None:
    """Write the training in `directory` to the zip `out`.

    Raises FileNotFoundError or ValueError if a file that it needs is missing or not in safetensors format.
    """
    hub = hub or HubIds()
    chain = training_chain(directory)
    sources = {(e.model.whisper, e.model.llm) for _, e in chain}
    if len(sources) > 1:
        raise ValueError(
            f"{directory}: it and the trainings that it started from have different backbones, {sorted(sources)}; "
            "correct config.yaml"
        )
    if not (directory / LANGUAGES).is_file():
        raise FileNotFoundError(f"{directory / LANGUAGES}: missing; copy the recipe's conf/languages.tsv there")
    names = {backbone: getattr(hub, backbone) or f"backbones/{backbone}" for backbone in BACKBONES}
    origins = {backbone: getattr(hub, backbone) or getattr(chain[0][1].model, backbone) for backbone in BACKBONES}
    files: dict[str, Path | bytes] = {META: meta_yaml(), LICENCES: licence_notes(**origins).encode()}
    files[CARD] = model_card(chain, origins).encode()
    for depth, (place, experiment) in enumerate(chain):
        files.update(_training_files(place, experiment, f"{INIT}/" * depth, names, last=depth == len(chain) - 1))
    for backbone in BACKBONES:
        if getattr(hub, backbone) is None:
            files.update(_backbone_files(getattr(chain[0][1].model, backbone), names[backbone]))
    for source in files.values():
        if isinstance(source, Path) and source.suffix == ".safetensors":
            check_weights(source)
    experiment = chain[0][1]
    facts = {"form": FORM, "zipperasr": zipperasr.__version__, "phase": experiment.phase, "lora": experiment.lora}
    write_archive(out, files, {**facts, "languages": list(experiment.languages), "backbones": names})


def open_bundle(path: str | Path) -> Path:
    """Unpack a bundle into $XDG_CACHE_HOME/zipperasr (~/.cache/zipperasr), once per content; returns the directory."""
    manifest = _bundle_manifest(path)
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zipperasr" / digest
    if not cache.is_dir():
        unpack_bundle(path, cache)
    return cache


def unpack_bundle(path: str | Path, directory: Path) -> None:
    """Check a bundle and unpack it into a training directory that does not exist yet."""
    _bundle_manifest(path)
    with atomic_path(directory) as temporary:
        unpack(path, temporary)
        for config in temporary.rglob(CONFIG):
            experiment, where = Experiment.load(config.parent), f"{path}: {config.relative_to(temporary)}"
            _check_names(experiment, where)
            check_ranks(experiment, config.parent / WEIGHTS, where)
        for weights in sorted(temporary.rglob("*.safetensors")):
            check_weights(weights, f"{path}: {weights.relative_to(temporary)}")


def _bundle_manifest(path: str | Path) -> dict:
    manifest = read_manifest(path)
    if manifest.get("form") != FORM:
        raise ValueError(f"{path}: {MANIFEST}: got form {manifest.get('form')!r}, wanted {FORM!r}")
    if META not in manifest["files"]:  # marks the unpacked directory as a bundle
        raise ValueError(f"{path}: no {META}; it was not written by `zipperasr export --format bundle`")
    return manifest


def _check_names(experiment: Experiment, where: str) -> None:
    """Raises ValueError if a bundle refers to files outside it, other than hub ids."""
    model = experiment.model
    names = (model.whisper, model.llm, model.lid_whisper)
    for name in (*names, experiment.init, experiment.init_from, experiment.initial_b):
        check_name(name, where)


def _training_files(
    directory: Path, experiment: Experiment, prefix: str, names: dict[str, str], last: bool
) -> dict[str, Path | bytes]:
    """Files of one training, with its configuration rewritten to the paths in the bundle."""
    source, lid_whisper = experiment.initial_b, experiment.model.lid_whisper
    if lid_whisper is not None and not is_hub_id(lid_whisper):
        log(f"{directory}: {lid_whisper}, which detects languages, is not included; only hub ids are kept")
        lid_whisper = None
    inside = replace(
        experiment,
        model=replace(experiment.model, **names, lid_whisper=lid_whisper),
        init=None if last or experiment.init_from else INIT,
        init_from=INIT if experiment.init_from else None,
        initial_b=Path(source).name if source else None,  # for information only: the directory is not included
    )
    made_for_it = (*_aligner_files(directory), *_calibration_files(directory))
    kept = [name for name in (WEIGHTS, LANGUAGES, *KEPT, *made_for_it) if (directory / name).is_file()]
    return {
        f"{prefix}{CONFIG}": inside.to_yaml().encode(),
        **{f"{prefix}{name}": directory / name for name in kept},
    }


def _aligner_files(directory: Path) -> tuple[str, ...]:
    """Files of a training's aligner, if it has one that can be used."""
    if not Aligner.is_in(directory):
        return ()
    try:
        Aligner.load(directory)
    except (ValueError, OSError) as error:
        log(f"{error}; the bundle is written without it")
        return ()
    return ALIGNER_CONFIG, ALIGNER_WEIGHTS


def _calibration_files(directory: Path) -> tuple[str, ...]:
    """The file of a training's calibration, if it was fitted with the model's present weights."""
    path = directory / CALIBRATION
    if not path.is_file():
        return ()
    record = read_record(path)
    if record is None or record.get("model") != weights_digest(directory):
        log(f"{path}: damaged, or fitted with other weights of the model; the bundle is written without it")
        return ()
    return (CALIBRATION,)


def _backbone_files(source: str, target: str) -> dict[str, Path]:
    """Files of a backbone, from its directory or the local cache of the hub; nothing is downloaded.

    Raises FileNotFoundError if they are in neither, ValueError if the weights are pickled.
    """
    check_local(source)
    directory = Path(source)
    if not directory.is_dir():
        directory = Path(snapshot_download(source, local_files_only=True))
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and path.suffix in SUFFIXES]
    if not any(path.suffix == ".safetensors" for path in files):
        raise ValueError(
            f"{directory}: no *.safetensors, and a bundle cannot contain pickled weights; load the model with "
            "transformers and call save_pretrained"
        )
    return {f"{target}/{path.name}": path for path in files}


def meta_yaml() -> bytes:
    """meta.yaml with the keys that `espnet2.bin.pack asr` writes, but no time stamp, so that archives are reproducible.

    ESPnet can unpack a bundle but not build its model; zipperasr opens bundles that ESPnet unpacked.
    """
    meta = {
        "files": {"asr_model_file": WEIGHTS},
        "yaml_files": {"asr_train_config": CONFIG},
        "torch": str(torch.__version__),
        "zipperasr": zipperasr.__version__,
    }
    return yaml.safe_dump(meta, sort_keys=False).encode()
