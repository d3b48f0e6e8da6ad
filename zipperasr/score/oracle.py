"""Oracle error rate: that of the alternative of each n-best list with the fewest errors.

In: nbest.jsonl of a decoded test set. Out: rows of oracle.tsv. Texts are normalised, divided into units and aligned as
those of scores.tsv, so that the error rate of the first alternatives is the one there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from zipperasr.atomic import atomic_path
from zipperasr.decode.alternatives import FILE, Alternatives, read_nbest
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.score.test_set import BLOCK, batched
from zipperasr.score.transcripts import TestSet

TABLE, CACHE = "oracle.tsv", "oracle.json"  # of a decoding, of a score directory


@dataclass(frozen=True)
class OracleScore:
    """A row of oracle.tsv."""

    set: str
    language: str
    unit: str  # wer | cer
    normaliser: str
    utts: int
    nbest: int  # length of the longest list
    texts: float  # mean length of the lists
    ref_units: int
    errors: int  # of the first alternatives
    oracle_errors: int  # of the best ones
    rate: float  # per cent
    oracle_rate: float


def load_lists(text: Path, hypotheses: Mapping[str, str]) -> dict[str, Alternatives] | None:
    """The n-best lists of the hypotheses in `text`; None if stage 7 wrote none.

    Raises ValueError unless each hypothesis is the first of its list.
    """
    path = text.with_name(FILE)
    if not path.is_file():
        return None
    lists = read_nbest(path)
    first = {utt: found[0].text for utt, found in lists.items()}
    odd = sorted(utt for utt in hypotheses.keys() | first.keys() if first.get(utt) != hypotheses.get(utt))
    if odd:
        raise ValueError(f"{path}: the first texts of {len(odd)} lists differ from {text}, {odd[0]!r}; rerun stage 7")
    return lists


def oracle_score(test_set: TestSet, lists: Mapping[str, Alternatives], unit: str, norm: str) -> OracleScore:
    """Count the errors of the first and of the best alternative of each utterance."""
    clean = normaliser(norm)
    ref_units = errors = oracle_errors = 0
    for ids in batched(sorted(lists), BLOCK):
        pairs, sizes = [], []
        for utt in ids:
            reference = split_units(clean(test_set.references[utt]), unit)
            different = dict.fromkeys(tuple(split_units(clean(one.text), unit)) for one in lists[utt])
            pairs += [(reference, list(units)) for units in different]
            sizes.append(len(different))
            ref_units += len(reference)
        counts = iter([len(found) - found.count("C") for found in align_all(pairs)])
        for size in sizes:
            of_utterance = [next(counts) for _ in range(size)]
            errors += of_utterance[0]
            oracle_errors += min(of_utterance)
    lengths = [len(found) for found in lists.values()]
    rates = [round(100.0 * count / ref_units, 6) if ref_units else float("nan") for count in (errors, oracle_errors)]
    depths = (len(lists), max(lengths), round(sum(lengths) / len(lengths), 6))
    return OracleScore(test_set.name, test_set.language, unit, norm, *depths, ref_units, errors, oracle_errors, *rates)


def write_oracle(path: Path, rows: Sequence[OracleScore]) -> None:
    """Write the table; without rows, remove that of an earlier decoding."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    lines = [[field.name for field in fields(OracleScore)], *(map(str, astuple(row)) for row in rows)]
    with atomic_path(path) as temporary:
        temporary.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def read_oracle(path: Path) -> list[OracleScore]:
    """Read the table back; [] if there is none. Raises ValueError with file and line."""
    if not path.is_file():
        return []
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    columns = list(OracleScore.__annotations__)
    if header.split("\t") != columns:
        raise ValueError(f"{path}:1: got columns {header!r}, wanted {' '.join(columns)}; rerun stage 8")
    convert = [{"str": str, "int": int, "float": float}[kind] for kind in OracleScore.__annotations__.values()]
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append(OracleScore(*(to(cell) for to, cell in zip(convert, line.split("\t"), strict=True))))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}; rerun stage 8") from error
    return rows
