"""Find what the stages left in exp/: decodings with their scores, trainings with their logs.

In: the experiment directory. Out: `Decoding` and `Training` objects in a fixed order (alignment first). Names are
taken apart here and nowhere else; a directory of another name keeps its full name as label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipperasr.config import read_tree
from zipperasr.lora import VARIANTS
from zipperasr.score.scores_table import SetScore, read_scores
from zipperasr.yaml_text import shown

_MODEL = re.compile(r"(?P<phase>align|sft)_?(?P<label>.*?)_?(?P<regime>chunked|full)(?P<rest>_.*)?")
_SEED = re.compile(r"_seed(?P<seed>\d+)$")
_DECODING = re.compile(r"decode_(?P<search>[^_]+)_(?P<regime>chunked|full)")


@dataclass(frozen=True)
class Model:
    """What the name of a training directory says."""

    directory: Path
    phase: str  # align | sft | other
    label: str  # variant and tag, or "Stage 1"
    regime: str  # chunked | full | ""
    setting: str = "1h"  # 1h | 30h
    seed: int | None = None  # where the name has one

    @property
    def system(self) -> str:
        """Label for tables: what all seeds share."""
        return self.label if self.setting == "1h" else f"{self.label} (30 h)"

    @property
    def title(self) -> str:
        """Label for this one run."""
        return self.system if self.seed is None else f"{self.system} seed {self.seed}"


@dataclass(frozen=True)
class Decoding:
    """One decoding of all test sets by one model."""

    model: Model
    directory: Path
    search: str  # greedy | beamN
    regime: str
    scores: list[SetScore]
    audio_s_per_s: float | None = None  # RTFx over all test sets, where the decoder left rtf.json

    @property
    def name(self) -> str:
        """Label for figures: variant, and what is not chunked or greedy."""
        odd = [word for word in (self.regime, self.search) if word not in ("chunked", "greedy")]
        return " ".join([self.model.system, *(f"({word})" for word in odd)])


@dataclass(frozen=True)
class Training:
    """Logs of one training directory; each list holds one object per line of the file."""

    model: Model
    train: list[dict[str, Any]]
    dev: list[dict[str, Any]]
    router: list[dict[str, Any]]
    router_final: dict[str, Any] | None


def parse_model(directory: Path) -> Model:
    """`align_chunked`, `sft_zipper_soft_full_30h_seed2`, ... A name of another form is its own label."""
    match = _MODEL.fullmatch(directory.name)
    if not match:
        return Model(directory, "other", directory.name, "")
    rest, seed = match["rest"] or "", None
    if found := _SEED.search(rest):
        rest, seed = rest[: found.start()] + rest[found.end() :], int(found["seed"])
    setting = "30h" if f"{rest}_".startswith("_30h_") else "1h"
    words = ["Stage 1" if match["phase"] == "align" else "", match["label"], rest[4:] if setting == "30h" else rest]
    label = " ".join(word.strip("_") for word in words if word.strip("_"))
    return Model(directory, match["phase"], label, match["regime"], setting, seed)


def by_system(decodings: Sequence[Decoding]) -> list[list[Decoding]]:
    """Decodings that differ in nothing but the seed, together."""
    systems: dict[tuple, list[Decoding]] = {}
    for number, decoding in enumerate(decodings):
        alone = number if decoding.model.seed is None else None
        key = (decoding.model.system, decoding.model.regime, decoding.regime, decoding.search, alone)
        systems.setdefault(key, []).append(decoding)
    return list(systems.values())


def find_decodings(exp: Path) -> list[Decoding]:
    """Every scored decoding below `exp`. Raises FileNotFoundError if there is none."""
    decodings = []
    for path in exp.glob("*/decode_*/scores.tsv"):
        match = _DECODING.fullmatch(path.parent.name)
        search, regime = (match["search"], match["regime"]) if match else (path.parent.name, "")
        model = parse_model(path.parent.parent)
        decodings.append(Decoding(model, path.parent, search, regime, read_scores(path), _speed(path.parent)))
    if not decodings:
        raise FileNotFoundError(f"{exp}/*/decode_*/scores.tsv: nothing is scored yet; run stages 7 and 8 first")
    return sorted(decodings, key=lambda d: (*_order(d.model), d.regime, d.search))


def find_trainings(exp: Path) -> list[Training]:
    """Every directory below `exp` that holds a training log."""
    trainings = [
        Training(
            model=parse_model(path.parent),
            train=read_jsonl(path),
            dev=read_jsonl(path.with_name("dev.jsonl")),
            router=read_jsonl(path.with_name("router.jsonl")),
            router_final=read_json(path.with_name("router_final.json")),
        )
        for path in exp.glob("*/train.jsonl")
    ]
    return sorted(trainings, key=lambda training: _order(training.model))


def added_languages(exp: Path) -> list[str]:
    """Languages that came to trained systems below `exp`, as their config.yaml says."""
    added = (read_config(path.parent).get("added") for path in sorted(exp.glob("*/config.yaml")))
    return list(dict.fromkeys(str(code) for codes in added if isinstance(codes, list) for code in codes))


def read_config(directory: Path) -> dict[str, Any]:
    """The keys of a training's config.yaml. Raises ValueError if it is no YAML, too large or no keys at all."""
    path = directory / "config.yaml"
    tree = read_tree(path, bases=False)
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: got {shown(tree)}, wanted the keys of a training; run stage 5 or 6 again")
    return tree


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object per line; an absent file has none. Raises ValueError with file and line."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not a JSON object ({error!s:.80}); rerun the training stage") from error
    return rows


def read_json(path: Path) -> dict[str, Any] | None:
    """One object, or None where the file is absent."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg}); rerun the stage that writes it") from error


def read_tsv(path: Path) -> tuple[list[str], list[list[str]]]:
    """(header, rows); comment lines and blank lines are left out. Raises ValueError with file and line."""
    header: list[str] = []
    rows: list[list[str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if not header:
            header = cells
        elif len(cells) != len(header):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {len(header)} as in its header line")
        else:
            rows.append(cells)
    if not header:
        raise ValueError(f"{path}: no header line; rerun the stage that writes it")
    return header, rows


def _speed(decode_dir: Path) -> float | None:
    """Seconds of audio decoded in a second."""
    records = [read_json(path) for path in sorted(decode_dir.glob("*/rtf.json"))]
    spent_s = sum(record["seconds"] for record in records if record)
    return sum(record["audio_s"] for record in records if record) / spent_s if spent_s else None


def _order(model: Model) -> tuple:
    """Alignments first; systems as the registry has them, each before those made from it by a tag."""
    phases = {"align": 0, "sft": 1}
    variant, _, tag = model.label.partition(" ")
    place = list(VARIANTS).index(variant) if variant in VARIANTS else len(VARIANTS)
    return (phases.get(model.phase, 2), model.regime, model.setting, place, variant, tag, model.seed or 0)
