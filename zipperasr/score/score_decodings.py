"""Score every test set of a decoding (stage 8).

In: <decode_dir>/<test set>/text and dump/raw. Out: <decode_dir>/<test set>/score_{wer,cer}/ (see `score_files`) and
<decode_dir>/scores.tsv; oracle.tsv too if there are n-best lists. Unit and normaliser come from the language table.
Languages whose transcripts contain combining marks are scored a second time with `whisper_marks`, into
score_{wer,cer}_whisper_marks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.cli import log
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.decode.alternatives import FILE as NBEST
from zipperasr.languages import LanguageTable
from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.normalise import has_marks, normaliser
from zipperasr.score.oracle import CACHE, TABLE, OracleScore, load_lists, oracle_score, write_oracle
from zipperasr.score.score_files import ScoreFiles
from zipperasr.score.scores_table import SetScore, write_scores
from zipperasr.score.tally import Tally
from zipperasr.score.test_set import score_utterances
from zipperasr.score.transcripts import TestSet, load_hypotheses, load_test_set
from zipperasr.sole_writer import sole_writer

SCORING = 3  # increase it when the same transcripts would give other files


def score_decodings(decode_dirs: Iterable[Path], *, raw: Path, languages: Path) -> None:
    """Score the test sets that have hypotheses; print and write one table per decoding.

    raw: stage 2's output. languages: the language table.
    """
    scorer = Scorer.load(raw, languages)
    for decode_dir in decode_dirs:
        _score_decoding(decode_dir, scorer)


def decodings_of(exp: Path) -> list[Path]:
    """The decoding directories of a training directory. Raises FileNotFoundError if there is none."""
    found = sorted(exp.glob("decode_*/"))
    if not found:
        raise FileNotFoundError(f"{exp}/decode_*: no decoding; run stage 7 first")
    return found


def hypotheses_of(decode_dir: Path) -> list[Path]:
    """The text files of a decoding. Raises FileNotFoundError if there is none."""
    texts = sorted(decode_dir.glob("*/text"))
    if not texts:
        raise FileNotFoundError(f"{decode_dir}/*/text: no hypotheses; run stage 7 (decoding) first")
    return texts


@dataclass(frozen=True)
class Scorer:
    """Scores one test set after the other."""

    raw: Path
    sets: Mapping[str, SetRow]  # by name
    table: LanguageTable

    @classmethod
    def load(cls, raw: Path, languages: Path) -> Scorer:
        """Read the tables. Raises ValueError for an unknown normaliser."""
        table = LanguageTable.load(languages)
        for language in table:
            normaliser(language.normaliser)
        return cls(raw, {row.set: row for row in read_sets(raw / "sets.tsv")}, table)

    def test_set(self, text: Path) -> TestSet:
        """The test set of some hypotheses."""
        name = text.parent.name
        if name not in self.sets:
            raise ValueError(f"{text}: {name!r} is not in {self.raw / 'sets.tsv'}; rerun stages 1, 2 and 7")
        return load_test_set(self.raw, self.sets[name])

    def is_scored(self, text: Path) -> bool:
        """Return True if the score directories of these hypotheses are up to date."""
        test_set = self.test_set(text)
        ways = _ways(test_set, self.table, self.raw)
        return all(is_current(*_output(self.raw, text, test_set, *way)) for way in ways)

    def oracles(self, text: Path) -> list[OracleScore]:
        """Rows of oracle.tsv of these hypotheses, which have been scored; [] if they have no n-best lists."""
        test_set = self.test_set(text)
        directories = [_output(self.raw, text, test_set, *way)[0] for way in _ways(test_set, self.table, self.raw)]
        caches = [directory / CACHE for directory in directories]
        return [OracleScore(**json.loads(path.read_text(encoding="utf-8"))) for path in caches if path.is_file()]

    def score(self, text: Path) -> list[SetScore]:
        """Write the score directories of these hypotheses; return their rows of scores.tsv."""
        test_set = self.test_set(text)
        diagnosis = Diagnosis(test_set.language, self.table.codes)
        speed, retried = _real_time_factor(text.parent / "rtf.json"), _num_retried(text.parent / "retried")
        rows = [
            _score_once(self.raw, text, test_set, unit, norm, diagnosis)
            for unit, norm in _ways(test_set, self.table, self.raw)
        ]
        return [replace(row, rtf=speed, retried=retried) for row in rows]


def _score_decoding(decode_dir: Path, scorer: Scorer) -> None:
    texts = hypotheses_of(decode_dir)
    rows, oracles = [], []
    for text in tqdm(texts, desc="scoring", unit="set"):
        rows += scorer.score(text)
        oracles += scorer.oracles(text)
    write_scores(decode_dir / "scores.tsv", rows)
    write_oracle(decode_dir / TABLE, oracles)
    print(f"{decode_dir}\n{summary(rows)}")
    excess = sum(row.errors - row.jiwer_errors for row in rows)
    jiwer = f"; {excess} errors more than jiwer's minimum edit count (score_*/notes.txt)" if excess else ""
    log(f"{decode_dir / 'scores.tsv'}: {len(texts)} test sets scored{jiwer}")


def _ways(test_set: TestSet, table: LanguageTable, raw: Path) -> list[tuple[str, str]]:
    """(unit, normaliser) pairs to score a test set with; the language table's pair comes first."""
    if test_set.language not in table:
        path = raw / test_set.name / "utt2lang"
        raise ValueError(f"{path}: language {test_set.language!r} has no line in {table.path}; add it there")
    language = table[test_set.language]
    ways = [(language.unit, language.normaliser)]
    marked = language.marks == "keep" or any(map(has_marks, test_set.references.values()))
    if language.normaliser == "whisper" and marked:
        ways.append((language.unit, "whisper_marks"))
    return ways


def _real_time_factor(path: Path) -> float:
    """Of the decoding; nan if it was not measured."""
    return json.loads(path.read_text(encoding="utf-8"))["rtf"] if path.is_file() else math.nan


def _num_retried(path: Path) -> int:
    """Number of utterances that stage 7 decoded again because of a loop; 0 if it did not record them."""
    return len(path.read_text(encoding="utf-8").split()) if path.is_file() else 0


def _output(raw: Path, text: Path, test_set: TestSet, unit: str, norm: str) -> tuple[Path, dict[str, str]]:
    """A score directory and the fingerprint of its inputs."""
    directory = text.parent / (f"score_{unit}" if norm != "whisper_marks" else f"score_{unit}_{norm}")
    kaldi = {name: raw / test_set.name / name for name in ("text", "utt2spk", "utt2lang", "utt2repeat")}
    way = {"unit": unit, "normaliser": norm, "corpus": test_set.corpus, "phase": test_set.phase, "scoring": SCORING}
    lists = {"nbest": text.with_name(NBEST)} if text.with_name(NBEST).is_file() else {}
    return directory, fingerprint(hypotheses=text, **way, **kaldi, **lists)


def _score_once(raw: Path, text: Path, test_set: TestSet, unit: str, norm: str, diagnosis: Diagnosis) -> SetScore:
    """Write one score directory and return its row; an up-to-date directory is read instead."""
    directory, inputs = _output(raw, text, test_set, unit, norm)
    hypotheses = load_hypotheses(text, test_set)
    if is_current(directory, inputs):
        log(f"{directory}: up to date")
        return SetScore(**json.loads((directory / "score.json").read_text(encoding="utf-8")))
    tally, lists = Tally(test_set, unit, norm), load_lists(text, hypotheses)
    with sole_writer(directory), atomic_path(directory) as temporary:
        temporary.mkdir()
        with ScoreFiles(temporary) as files:
            for block in score_utterances(test_set, hypotheses, unit, norm, diagnosis):
                tally.add(block)
                files.add(block)
        row, notes = tally.row(), tally.notes()
        (temporary / "score.json").write_text(json.dumps(asdict(row), indent=1), encoding="utf-8")
        (temporary / "notes.txt").write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")
        if lists is not None:
            oracle = oracle_score(test_set, lists, unit, norm)
            (temporary / CACHE).write_text(json.dumps(asdict(oracle), indent=1), encoding="utf-8")
        mark_current(temporary, inputs)
    empty = f"; {row.emptied_refs} references are empty after normalisation" if row.emptied_refs else ""
    log(f"{directory}: {row.utts} utterances, {row.ref_units} units, {unit.upper()} {row.rate:.2f} % ({norm}){empty}")
    return row


def summary(rows: Sequence[SetScore]) -> str:
    """The table printed on the terminal."""
    lines = [
        f"{'test set':<34} {'unit':<4} {'normaliser':<13} {'utts':>6} {'units':>7} {'rate %':>7} "
        f"{'95 % interval over':>32} {'listed %':>8} "
        f"{'empty':>5} {'loops':>5} {'retried':>7} {'bursts':>6} {'other lang.':>11} {'chat':>4} {'RTF':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row.set:<34} {row.unit:<4} {row.normaliser:<13} {row.utts:>6} {row.ref_units:>7} {row.rate:>7.2f} "
            f"{_interval(row):>32} {row.listed_rate:>8.2f} {row.empty:>5} {row.loops:>5} {row.retried:>7} "
            f"{row.bursts:>6} {row.language_errors:>11} {row.chat_replies:>4} {row.rtf:>7.4f}"
        )
    return "\n".join(lines)


def _interval(row: SetScore) -> str:
    over = f"{row.speakers} speakers" if row.resampled_by == "speaker" else f"{row.utts} utts"
    return f"{row.low:.2f} to {row.high:.2f}, {over}"
