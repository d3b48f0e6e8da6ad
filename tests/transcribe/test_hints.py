"""Hints from files, prompts and Python reach the search of their recording only."""

from __future__ import annotations

import dataclasses

import pytest

from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import noise, with_pauses
from zipperasr.decode.phrases import Phrase
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.hints import MOST_CHARACTERS, MOST_HINTS, read_hints, split_prompt
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Job


def test_a_file_has_one_phrase_per_line_with_an_optional_weight(tmp_path):
    path = tmp_path / "hints.txt"
    path.write_text("Zorblat Müller\n\n猫田\t2.5\n", encoding="utf-8")
    assert read_hints(path, 4.0) == (Phrase("Zorblat Müller", 4.0), Phrase("猫田", 2.5))


@pytest.mark.parametrize("line", ["a\tb", "\t2", "a\t-1", "a\t0", "a\tnan", "a\tinf", "a\t1\t2"])
def test_a_line_that_is_no_phrase_with_a_weight_is_an_error(tmp_path, line):
    path = tmp_path / "hints.txt"
    path.write_text(f"first\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"hints\.txt:2: got .*, wanted a phrase, then at most a tab and a weight"):
        read_hints(path, 4.0)


def test_too_many_phrases_are_an_error(tmp_path):
    path = tmp_path / "hints.txt"
    path.write_text("".join(f"name{number}\n" for number in range(MOST_HINTS + 1)), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"hints\.txt:{MOST_HINTS + 1}: more than 5,000 phrases"):
        read_hints(path, 4.0)


def test_a_prompt_is_divided_at_commas_and_line_breaks():
    wanted = tuple(Phrase(text, 4.0) for text in ("Zorblat Müller", "Qwen", "猫田", "犬"))
    assert split_prompt("Zorblat Müller, Qwen;\n猫田、犬, Qwen,", 4.0) == wanted
    assert split_prompt("", 4.0) == ()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("é, " * 2667, "got 10,668 bytes, wanted at most 8,000"),
        (",".join(map(str, range(201))), "got 201 phrases, wanted at most 200"),
        ("a, " + "b" * 201, r"the phrase 'b{20}'\.\.\. has 201 characters, wanted at most 200; separate names"),
    ],
)
def test_a_prompt_that_is_too_large_is_an_error(prompt, message):
    with pytest.raises(ValueError, match=message):
        split_prompt(prompt, 4.0)


def test_a_prompt_of_the_largest_size_is_accepted():
    assert len(split_prompt(",".join(map(str, range(200))), 4.0)) == 200
    assert len(split_prompt(("b" * 199 + ",") * 40, 4.0)) == 1


def test_a_phrase_that_is_too_long_is_an_error_in_a_file_and_in_python(tmp_path, transcriber):
    long = "b" * (MOST_CHARACTERS + 1)
    path = tmp_path / "hints.txt"
    path.write_text(f"first\n{long}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"hints\.txt:2: the phrase 'b{20}'\.\.\. has 201 characters"):
        read_hints(path, 4.0)
    with pytest.raises(ValueError, match="has 201 characters"):
        transcriber(noise(1.0), lang="de", hints=[long])


def test_phrases_are_prepared_with_the_first_piece_and_once_for_a_list(transcriber):
    hints = (Phrase("zipper", 1.0),)
    jobs = [Job(Recording(name, with_pauses([20.0, 20.0]), hints=hints), "de") for name in "ab"]
    for job in jobs:
        pieces = transcriber.examples(job, {})
        next(pieces)
        prepared = job.phrases
        assert prepared is not None and next(pieces) and job.phrases is prepared
    assert jobs[0].phrases is jobs[1].phrases


@pytest.fixture
def without_aligner(transcriber) -> Transcriber:
    found = Transcriber(transcriber.opened, SHORT)
    found.hint_lists.aligner = None
    return found


def test_hints_concern_their_recording_only(without_aligner):
    plain, hinted = Recording("a", noise(2.0)), Recording("b", noise(2.0), hints=(Phrase("zipper", 1000.0),))
    texts = [found.text for _, found in without_aligner.transcribe([plain, hinted, plain], "de")]
    assert texts[0] == texts[2] == without_aligner(noise(2.0), lang="de").text
    assert "zipper" in texts[1] and "zipper" not in texts[0]
    assert without_aligner(noise(2.0), lang="de", hints=["nobody says this"]).text == texts[0]


FOUND = Recording("a", noise(1.5, 3), hints=(Phrase("cd", 1000.0),))  # preferred by the tiny, untrained aligner


def test_with_an_aligner_a_hint_that_it_prefers_is_in_the_text_and_others_change_nothing(transcriber):
    plain = Recording("b", noise(1.5, 3))
    found = [transcript for _, transcript in transcriber.transcribe([plain, FOUND, plain], "es")]
    assert found[0].text == found[2].text == transcriber(noise(1.5, 3), lang="es").text
    assert "cd" in found[1].text and "cd" not in found[0].text
    (segment,) = found[1].segments
    assert all(-100 < token.logprob <= 0 for token in segment.tokens) and segment.avg_logprob < 0
    assert transcriber(noise(1.5, 3), lang="es", hints=["zipper"]).text == found[0].text  # unknown characters


def test_the_aligner_is_opened_for_hints_though_words_have_no_times(transcriber, timing):
    assert transcriber.aligner is None and transcriber.hint_lists.aligner is not None
    assert timing.hint_lists.aligner is timing.aligner
    ((_, plain),), ((_, timed),) = (one.transcribe([FOUND], "es") for one in (transcriber, timing))
    assert timed.text == plain.text and "cd" in plain.text
    assert all(word.start_s is not None for part in timed.segments for word in part.words)


def test_hints_with_beam_search_are_an_error(transcriber):
    beam = Transcriber(transcriber.opened, dataclasses.replace(SHORT, beam=2, retry_loops=False))
    with pytest.raises(ValueError, match="hints need this project's own greedy search"):
        beam(noise(1.0), lang="de", hints=["zipper"])
