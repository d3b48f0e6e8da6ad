"""Words of the displayed hypotheses get the times and confidences of `zipperasr transcribe --words`, once."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.html.conftest import PageData
from tests.report.html.timed import CHANGED, DECODING, DURATION_S, OTHER, SETS, SYSTEM, UTTS, build, write_timed_run
from tests.transcribe.conftest import backbones, trained
from zipperasr.align.aligner import WEIGHTS
from zipperasr.run_record import DecodingRun, save_run
from zipperasr.transcribe import Transcriber

__all__ = ["backbones", "trained"]


@pytest.fixture(scope="module")
def scored(trained, languages, tmp_path_factory) -> Path:
    """Read only."""
    return write_timed_run(tmp_path_factory.mktemp("timed"), trained, languages.path)


@pytest.fixture
def timed(scored, tmp_path) -> Path:
    """A writable copy."""
    return Path(shutil.copytree(scored, tmp_path / "asr1"))


def blocks(run: Path, name: str) -> dict[str, str]:
    page = PageData(run / "report.html")
    (place,) = [place for place, column in enumerate(page.index["columns"]) if column["set"] == name]
    return page.index["scores"][0][place]["blocks"]


def words_in(run: Path, name: str) -> dict[str, list]:
    return dict(PageData(run / "report.html").rows(blocks(run, name)["words"]))


def notes(run: Path) -> str:
    return "\n".join(PageData(run / "report.html").index["notes"])


def test_words_have_the_times_and_confidences_of_a_transcription(timed, languages, trained):
    assert build(timed, languages.path) == 0
    transcriber = Transcriber.from_pretrained(trained, "cpu", words=True)
    for name, code in SETS.items():
        found = words_in(timed, name)
        for utt, words in found.items():
            transcript = transcriber(timed / "dump" / "raw" / name / f"{utt}.flac", lang=code)
            expected = [word for segment in transcript.segments for word in segment.words]
            assert [word for word, *_ in words] == [word.text for word in expected]
            assert [times for _, *times, _ in words] == [[word.start_s, word.end_s] for word in expected]
            assert [word[3] for word in words] == pytest.approx([word.confidence for word in expected], abs=6e-4)
            times = [time for _, *times, _ in words for time in times]
            assert all(0 <= first <= second <= DURATION_S for first, second in pairwise(times))
    assert set(words_in(timed, "test_x_es")) == set(UTTS)


def test_a_hypothesis_that_the_model_does_not_repeat_has_no_times_and_a_note_says_so(timed, languages):
    assert build(timed, languages.path) == 0
    assert set(words_in(timed, "test_x_de")) == set(UTTS) - {OTHER}
    assert "zipper_soft, test_x_de: 1 of 3 utterances with audio have no word times" in notes(timed)
    assert CHANGED in {row[0] for row in PageData(timed / "report.html").rows(blocks(timed, "test_x_de")["own"])}


def test_a_second_report_does_not_load_the_model(timed, languages, monkeypatch):
    assert build(timed, languages.path) == 0
    first = (timed / "report.html").read_bytes()
    (timed / "exp" / SYSTEM / "config.yaml").unlink()  # the model could not be loaded
    assert build(timed, languages.path) == 0
    assert (timed / "report.html").read_bytes() == first


def test_only_utterances_without_a_row_are_decoded(timed, languages, monkeypatch):
    decoded, transcribe = [], Transcriber.transcribe

    def transcribe_and_note(self, recordings, *others):
        decoded.append({recording.id for recording in recordings})
        return transcribe(self, recordings, *others)

    monkeypatch.setattr(Transcriber, "transcribe", transcribe_and_note)
    assert build(timed, languages.path, "--audio_utts", "1") == 0
    first, decoded[:] = list(decoded), []
    assert [len(ids) for ids in first] == [1, 1]
    assert build(timed, languages.path) == 0
    assert decoded == [set(UTTS) - ids for ids in first]
    grown, decoded[:] = {name: set(words_in(timed, name)) for name in SETS}, []
    assert build(timed, languages.path, "--audio_utts", "2") == 0
    assert decoded == [], "neither rows nor missing times are looked for again"
    shutil.rmtree(timed / "exp" / SYSTEM / DECODING / "test_x_es" / "word_times")
    assert build(timed, languages.path) == 0
    assert decoded == [set(UTTS)]
    assert {name: set(words_in(timed, name)) for name in SETS} == grown, "as in one decoding"


def test_other_hypotheses_are_timed_again(timed, languages):
    assert build(timed, languages.path) == 0
    path = timed / "exp" / SYSTEM / DECODING / "test_x_es" / "text"
    path.write_text(path.read_text(encoding="utf-8").replace(f"{UTTS[0]} ", f"{UTTS[0]} x"), encoding="utf-8")
    assert build(timed, languages.path) == 0
    assert set(words_in(timed, "test_x_es")) == set(UTTS[1:])


def without_aligner(run: Path) -> tuple[str, ...]:
    (run / "exp" / SYSTEM / WEIGHTS).unlink()
    return ()


def switched_off(run: Path) -> tuple[str, ...]:
    return ("--word_times", "false")


def without_audio(run: Path) -> tuple[str, ...]:
    return ("--audio", "none")


@pytest.mark.parametrize("change", [without_aligner, switched_off, without_audio])
def test_nothing_is_decoded_without_an_aligner_or_audio(timed, languages, change):
    options = change(timed)
    assert build(timed, languages.path, *options) == 0
    assert all("words" not in blocks(timed, name) for name in SETS)
    assert "word times" not in notes(timed)
    assert not list(timed.glob("exp/*/*/*/word_times"))


def retrained(run: Path) -> str:
    config = run / "exp" / SYSTEM / "aligner.yaml"
    lines = config.read_text("utf-8").splitlines()
    config.write_text("\n".join("model: other" if line.startswith("model:") else line for line in lines), "utf-8")
    return "retrained after its aligner; run `zipperasr train-aligner` again"


def incomplete(run: Path) -> str:
    (run / "exp" / SYSTEM / "languages.tsv").unlink()
    return "languages.tsv: missing; copy the recipe's conf/languages.tsv there"


def beam(run: Path) -> str:
    save_run(DecodingRun("beam4", "chunked"), run / "exp" / SYSTEM / DECODING)
    return "got beam4; words have times and confidences in greedy search only"


def without_a_record(run: Path) -> str:
    directory = run / "exp" / SYSTEM / DECODING
    (directory / "run.json").unlink()
    directory.rename(directory.with_name("greedy"))
    return "got an unknown search, without run.json; words have times and confidences in greedy search only"


@pytest.mark.parametrize("change", [retrained, incomplete, beam, without_a_record])
def test_a_model_that_cannot_be_used_leaves_a_note(timed, languages, change):
    message = change(timed)
    assert build(timed, languages.path) == 0
    assert all("words" not in blocks(timed, name) for name in SETS)
    assert "No word times for zipper_soft: " in notes(timed) and message in notes(timed)
