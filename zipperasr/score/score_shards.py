"""Score the test sets of decodings in shards (stage 8): each shard scores some of the test sets.

In: decodings and dump/raw. Out: the score directories at their final place, where each is complete or absent. Merging
writes scores.tsv; nothing else depends on more than one test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from zipperasr.cli import log
from zipperasr.datadir.entry import read_table
from zipperasr.score.score_decodings import Scorer, hypotheses_of, score_decodings
from zipperasr.shards import Balance, check_complete


def score_shard(decode_dirs: Iterable[Path], number: int, count: int, *, raw: Path, languages: Path) -> None:
    """Score the test sets of shard `number`."""
    scorer = Scorer.load(raw, languages)
    mine = [text for text, shard in _divided(decode_dirs, scorer, count).items() if shard == number]
    for text in mine:
        scorer.score(text)
    log(f"shard {number} of {count}: {len(mine)} test sets scored")


def missing_shards(decode_dirs: Iterable[Path], count: int, *, raw: Path, languages: Path) -> set[int]:
    """Return the numbers of the shards with test sets whose scores are not up to date."""
    scorer = Scorer.load(raw, languages)
    divided = _divided(decode_dirs, scorer, count)
    return {shard for text, shard in divided.items() if not scorer.is_scored(text)}


def merge_shards(decode_dirs: Sequence[Path], count: int, *, raw: Path, languages: Path) -> None:
    """Write scores.tsv of each decoding. Raises ValueError if a shard is missing."""
    check_complete(missing_shards(decode_dirs, count, raw=raw, languages=languages), count, "scores")
    score_decodings(decode_dirs, raw=raw, languages=languages)


def _divided(decode_dirs: Iterable[Path], scorer: Scorer, count: int) -> dict[Path, int]:
    """The shard of each test set, by its text; also of those that are up to date, so that it is always the same."""
    texts = [text for decode_dir in dict.fromkeys(decode_dirs) for text in hypotheses_of(decode_dir)]
    seconds = {name: _seconds(scorer.raw / name / "utt2dur") for name in {text.parent.name for text in texts}}
    shards = Balance(count).assign([seconds[text.parent.name] for text in texts])
    return dict(zip(texts, shards, strict=True))


def _seconds(path: Path) -> float:
    """Seconds of speech in a set; 0 if the file does not exist, because scoring does not need it."""
    return sum(map(float, read_table(path).values())) if path.is_file() else 0.0
