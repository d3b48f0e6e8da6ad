"""Read a test set and its hypotheses.

In: dump/raw/<set>/{text,utt2lang,utt2spk,utt2repeat} and <decode dir>/<set>/text, in Kaldi's form. Out: `TestSet` and a
hypothesis per utterance. Ids must agree exactly: a missing hypothesis is never scored as an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TestSet:
    """A test set of one language; the dictionaries share their keys, the utterance ids."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    name: str
    corpus: str
    language: str
    references: dict[str, str]
    speakers: dict[str, str]
    repeats: dict[str, int]  # how often the authors' list names the utterance


def read_table(path: str | Path) -> dict[str, str]:
    """`key rest of line` per line; a key alone has an empty rest. Raises ValueError with file and line."""
    path = Path(path)
    table: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        key, _, rest = line.strip().partition(" ")
        if not key:
            raise ValueError(f"{path}:{number}: got an empty line, wanted `id text`; remove it")
        if key in table:
            raise ValueError(f"{path}:{number}: id {key!r} stands in the file twice; each id has one line")
        table[key] = rest.strip()
    return table


def load_test_set(raw: Path, name: str, corpus: str) -> TestSet:
    """Read one test set from dump/raw. Raises ValueError where files disagree or languages mix."""
    directory = raw / name
    for needed in ("text", "utt2lang", "utt2spk"):
        if not (directory / needed).is_file():
            raise FileNotFoundError(f"{directory / needed} is missing; run stage 2 (dump/raw) first")
    references = read_table(directory / "text")
    if not references:
        raise ValueError(f"{directory / 'text'}: no utterance in the test set; rerun stages 1 and 2")
    languages = _same_ids(directory / "utt2lang", read_table(directory / "utt2lang"), references)
    repeats = directory / "utt2repeat"
    counts = _same_ids(repeats, read_table(repeats), references) if repeats.is_file() else dict.fromkeys(references, 1)
    codes = sorted(set(languages.values()))
    if len(codes) != 1:
        raise ValueError(f"{directory / 'utt2lang'}: got languages {codes}, wanted one; split the set by language")
    return TestSet(
        name=name,
        corpus=corpus,
        language=codes[0],
        references=references,
        speakers=_same_ids(directory / "utt2spk", read_table(directory / "utt2spk"), references),
        repeats={utt: _positive(count, repeats, utt) for utt, count in counts.items()},
    )


def load_hypotheses(path: Path, test_set: TestSet) -> dict[str, str]:
    """Hypotheses by utterance id. Raises ValueError if ids are missing or unknown."""
    hypotheses = read_table(path)
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


def load_corpora(raw: Path) -> dict[str, str]:
    """Corpus name by data dir, from dump/raw/sets.tsv."""
    return {row["set"]: row["corpus"] for row in read_sets(raw)}


def read_sets(raw: Path) -> list[dict[str, str]]:
    """The rows of dump/raw/sets.tsv: set, kind, phase, corpus, language."""
    path = raw / "sets.tsv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run stage 2 (dump/raw) first")
    columns = ["set", "kind", "phase", "corpus", "language"]
    header, *lines = _lines(path) or [""]
    if header.split("\t") != columns:
        raise ValueError(f"{path}:1: got columns {header.split()}, wanted {columns}, tab separated; rerun stage 2")
    rows = []
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {len(columns)}; rerun stage 2")
        rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from error
    # Not splitlines(): a transcript may hold U+2028 or U+0085, which are no line ends to Kaldi.
    return text.removesuffix("\n").split("\n") if text else []


def _same_ids(path: Path, table: dict[str, str], references: dict[str, str]) -> dict[str, str]:
    odd = sorted(table.keys() ^ references.keys())
    if odd:
        raise ValueError(f"{path}: {len(odd)} ids differ from text's, first {odd[0]!r}; rerun stages 1 and 2")
    return table


def _positive(count: object, path: Path, utt: str) -> int:
    if not str(count).isdecimal() or int(str(count)) < 1:
        raise ValueError(f"{path}: {utt}: got repeat {count!r}, wanted a whole number from 1; rerun stage 1")
    return int(str(count))
