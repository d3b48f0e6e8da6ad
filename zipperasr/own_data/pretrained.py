"""Copy a trained model into a recipe that fine-tunes it.

In: a bundle, or a training directory. Out: a self-contained, unpacked bundle in the recipe, and the configuration of
the model, so that the recipe's other stages use its tokenizer and its encoder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from zipperasr.config import to_tree
from zipperasr.exchange.bundle import unpack_bundle, write_bundle
from zipperasr.languages import LanguageTable
from zipperasr.model.experiment import LANGUAGES, Experiment, located
from zipperasr.train.continuation import Continuation, check_request


@contextmanager
def pretrained_model(source: Path | None, scratch: Path) -> Iterator[Path | None]:
    """Yield a temporary directory below `scratch` with the unpacked model; None if there is no source.

    Raises ValueError or OSError if it is not a model that can be fine-tuned.
    """
    if source is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".") as name:
        bundle, model = source, Path(name) / "model"
        if source.is_dir():
            bundle = Path(name) / "model.zip"
            write_bundle(source, bundle)
        unpack_bundle(bundle, model)
        check_request(Continuation(model, train_parts=("all",)), LanguageTable.load(model / LANGUAGES))
        yield model


def install(model: Path, recipe: Path, name: str) -> None:
    """Move an unpacked model to `name` in the recipe, and leave the full scale, with its model, as the only one."""
    target = recipe / name
    target.parent.mkdir(parents=True)
    shutil.move(model, target)
    for scale in ("mini", "rehearsal"):
        shutil.rmtree(recipe / "conf" / scale)
    tree = to_tree(located(Experiment.load(target), target).model)
    for backbone in ("whisper", "llm"):
        if Path(tree[backbone]).is_absolute():
            tree[backbone] = os.path.relpath(tree[backbone], recipe.resolve())
    text = "# The model of --init_from.\n" + yaml.safe_dump(tree, sort_keys=False)
    (recipe / "conf/full/model.yaml").write_text(text, encoding="utf-8")
