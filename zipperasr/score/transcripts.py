"""Read a test set and its hypotheses.

In: dump/raw/<set>/{text,utt2lang,utt2spk,utt2repeat} and <decode dir>/<set>/text, in Kaldi's format. Out: `TestSet` and
one hypothesis per utterance. Ids must agree exactly: a missing hypothesis is an error, not an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipperasr.datadir.entry import read_table
from zipperasr.datadir.set_table import SetRow
from zipperasr.text_lines import numbered_lines


@dataclass(frozen=True)
class TestSet:
    """A test set of one language; the dictionaries share their keys, the utterance ids."""

    __test__ = False  # pytest would collect the class by its name

    name: str
    phase: str  # align | sft
    corpus: str
    language: str
    references: dict[str, str]
    speakers: dict[str, str]
    repeats: dict[str, int]  # how often the authors' list contains the utterance


def load_test_set(raw: Path, row: SetRow) -> TestSet:
    """Read one test set from dump/raw. Raises ValueError if files disagree or the set has several languages."""
    directory = raw / row.set
    for needed in ("text", "utt2lang", "utt2spk"):
        if not (directory / needed).is_file():
            raise FileNotFoundError(f"{directory / needed} is missing; run stage 2 (dump/raw) first")
    references = read_table(directory / "text", may_be_empty=True)
    if not references:
        raise ValueError(f"{directory / 'text'}: no utterance in the test set; rerun stages 1 and 2")
    languages = sorted(set(_same_ids(directory / "utt2lang", references).values()))
    if len(languages) != 1:
        raise ValueError(f"{directory / 'utt2lang'}: got languages {languages}, wanted one; split the set by language")
    repeats = directory / "utt2repeat"
    counts = _same_ids(repeats, references) if repeats.is_file() else dict.fromkeys(references, "1")
    return TestSet(
        name=row.set,
        phase=row.phase,
        corpus=row.corpus,
        language=languages[0],
        references=references,
        speakers=_same_ids(directory / "utt2spk", references),
        repeats={utt: _positive(count, f"{repeats}: {utt}") for utt, count in counts.items()},
    )


def load_hypotheses(path: Path, test_set: TestSet) -> dict[str, str]:
    """Hypotheses by id; a line with only an id is an empty one. Raises ValueError for missing and unknown ids."""
    hypotheses: dict[str, str] = {}
    for number, line in numbered_lines(path):
        utt, _, text = line.partition(" ")
        if utt in hypotheses:
            raise ValueError(f"{path}:{number}: id {utt!r} is listed twice; rerun stage 7")
        hypotheses[utt] = text.strip()
    missing = sorted(test_set.references.keys() - hypotheses.keys())
    extra = sorted(hypotheses.keys() - test_set.references.keys())
    problems = [
        f"{len(ids)} {what}, first {ids[0]!r}"
        for ids, what in ((missing, "utterances have no hypothesis"), (extra, "ids are not in the test set"))
        if ids
    ]
    if problems:
        raise ValueError(
            f"{path}: {'; '.join(problems)}; got {len(hypotheses)} hypotheses for the {len(test_set.references)} "
            f"utterances of {test_set.name}; rerun stage 7"
        )
    return hypotheses


def _same_ids(path: Path, references: dict[str, str]) -> dict[str, str]:
    table = read_table(path)
    odd = sorted(table.keys() ^ references.keys())
    if odd:
        raise ValueError(f"{path}: {len(odd)} ids differ from text's, first {odd[0]!r}; rerun stages 1 and 2")
    return table


def _positive(count: str, where: str) -> int:
    if not count.isdecimal() or int(count) < 1:
        raise ValueError(f"{where}: got repeat {count!r}, wanted a whole number from 1; rerun stage 1")
    return int(count)
