from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.score.example import write_trn
from tests.score.sclite.real import needs_sclite, run_ours, run_real
from zipperasr.score.sclite.align import align_all
from zipperasr.score.score_files import Result
from zipperasr.score.test_set import ScoredUtterance

# Output of sclite 2.4.10 for `six_utterances`
EXPECTED = Path(__file__).parent / "result.txt"


def scored(rows: list[tuple[str, str, list[str], list[str]]]) -> list[ScoredUtterance]:
    operations = align_all([(ref, hyp) for _, _, ref, hyp in rows])
    return [
        ScoredUtterance(utt, speaker, 1, " ".join(ref), " ".join(hyp), ref, hyp, ops)
        for (speaker, utt, ref, hyp), ops in zip(rows, operations, strict=True)
    ]


def six_utterances() -> list[ScoredUtterance]:
    texts = [
        ("a", "1", "the cat sat on the mat", "the cat set on mat"),
        ("a", "2", "hello world", "hello big world"),
        ("b", "1", "one two three four", "one two three four"),
        ("b", "2", "i am here", "i am"),
        ("c", "1", "", "foo"),
        ("c", "2", "x y z", ""),
    ]
    return scored([(speaker, utt, ref.split(), hyp.split()) for speaker, utt, ref, hyp in texts])


def random_utterances(seed: int) -> list[ScoredUtterance]:
    """Speakers without reference words, long lines, names that widen the table, scripts with multi-byte letters."""
    rng = random.Random(seed)
    words = rng.choice([list("abcdefg"), ["the", "cat", "привет", "мир", "สาม", "ă", "nghỉ"], list("三四五六")])
    names = ["s1", "s2", "Speaker-Name", "x" * rng.randint(1, 60)]
    silent = {name for name in names if rng.random() < 0.2}
    rows = []
    for number in range(rng.choice([1, 5, 40])):
        speaker = rng.choice(names)
        length = 0 if speaker in silent else rng.randint(0, rng.choice([4, 12, 200]))
        reference = [rng.choice(words) for _ in range(length)]
        hypothesis = [word for word in reference if rng.random() > 0.1]
        for _ in range(rng.randint(0, 4)):
            hypothesis.insert(rng.randint(0, len(hypothesis)), rng.choice(words))
        rows.append((speaker, f"{speaker}-{number:03d}", reference, hypothesis if rng.random() > 0.1 else []))
    return scored(rows)


def written(directory: Path, utterances: list[ScoredUtterance], title: str = "hyp.trn") -> bytes:
    with Result(directory / "result.txt", title) as result:
        for utterance in utterances:
            result.add(utterance)
    return (directory / "result.txt").read_bytes()


def test_summary_and_alignments_equal_sclites(tmp_path):
    assert written(tmp_path, six_utterances()) == EXPECTED.read_bytes()


def test_a_speaker_without_reference_words_is_marked_and_explained(tmp_path):
    text = written(tmp_path, scored([("a", "1", [], ["x"]), ("b", "1", ["y"], ["y"])])).decode()
    assert "| a      |    1      0 |    0*     0*     0*     1*     1* 100.0 |" in text
    assert "+ Speaker(s) with no reference data is ignored\n" in text


def test_trn_ids_have_the_speaker_before_the_first_hyphen(tmp_path):
    write_trn(tmp_path, scored([("anna-lena", "anna-lena-7", ["ja"], [])]))
    assert (tmp_path / "ref.trn").read_text(encoding="utf-8") == "ja (anna_lena-anna-lena-7)\n"
    assert (tmp_path / "hyp.trn").read_text(encoding="utf-8") == " (anna_lena-anna-lena-7)\n"


def as_given(directory: Path, seed: int) -> tuple[bytes, Path, list[str]]:
    """Write result.txt; returns it with the trn files and options with which sclite prints the same."""
    utterances = random_utterances(seed)
    title = "./" * (seed % 60) + "hyp.trn"  # a title wider than the table widens it
    files = directory / "files"
    files.mkdir()
    write_trn(files, utterances)
    argv = ["-r", "ref.trn", "trn", "-h", title, "trn", "-i", "rm", "-o", "all", "stdout"]
    return written(directory, utterances, title), files, argv


@pytest.mark.parametrize("seed", range(6))
def test_result_equals_the_output_of_our_sclite_for_the_trn_files(seed, tmp_path, monkeypatch):
    result, files, argv = as_given(tmp_path, seed)
    assert (result, {}) == run_ours(argv, files, monkeypatch)


@needs_sclite
@pytest.mark.parametrize("seed", range(24))
def test_result_equals_the_real_sclites_byte_for_byte(seed, tmp_path):
    result, files, argv = as_given(tmp_path, seed)
    assert (result, {}) == run_real(argv, files)
