"""`zipperasr evaluate`: its rates are those of an independent count, and its results can be read back."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import jiwer
import pytest

from tests.corpora.example import write_noise, write_text
from zipperasr.evaluate.__main__ import MOST_NAMED, main
from zipperasr.evaluate.results import LanguageResult, mean_rate, table
from zipperasr.model.experiment import weights_digest
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.scores_table import SetScore
from zipperasr.transcribe import Transcriber

REFERENCES = {  # language, text
    "d1": ("de", "Ein Satz, zwei Sätze."),
    "d2": ("de", "Guten Tag!"),
    "e1": ("es", "buenos días"),
    "j1": ("ja", "こんにちは"),
}


@pytest.fixture
def listed(tmp_path):
    """A manifest of noise with transcripts."""
    for seed, utt in enumerate(REFERENCES):
        write_noise(tmp_path / f"{utt}.wav", 0.6 + 0.1 * seed, seed=seed)
    rows = ({"id": utt, "audio": f"{utt}.wav", "text": text, "lang": lang} for utt, (lang, text) in REFERENCES.items())
    return write_text(tmp_path / "own.jsonl", *map(json.dumps, rows))


def independent_rates(transcriber, directory) -> dict[str, float]:
    """Error rates in per cent of one transcription after the other, counted by jiwer."""
    units: dict[str, tuple[list[str], list[str]]] = {}
    for utt, (lang, text) in REFERENCES.items():
        language = transcriber.languages[lang]
        clean = normaliser(language.normaliser)
        found = transcriber(directory / f"{utt}.wav", lang=lang).text
        for side, words in zip(units.setdefault(lang, ([], [])), (text, found), strict=True):
            side.append(" ".join(split_units(clean(words), language.unit)))
    return {lang: 100 * jiwer.wer(references, found) for lang, (references, found) in units.items()}


def test_rates_by_language_are_those_of_jiwer_on_single_transcriptions(trained, listed, transcriber, tmp_path, capsys):
    out = tmp_path / "results.json"
    options = ["--model", str(trained), "--data", str(listed), "--device", "cpu", "--out", str(out)]
    assert main(options) == 0
    results = json.loads(out.read_text("utf-8"))
    rows = {row["language"]: row for row in results["languages"]}
    wanted = independent_rates(Transcriber.from_pretrained(trained, "cpu"), tmp_path)
    assert {code: 100 * row["jiwer_errors"] / row["ref_units"] for code, row in rows.items()} == pytest.approx(wanted)
    assert {code: row["utts"] for code, row in rows.items()} == {"de": 2, "es": 1, "ja": 1}
    assert rows["de"]["low"] <= rows["de"]["rate"] <= rows["de"]["high"]
    assert rows["ja"]["unit"] == "cer"
    assert results["mean_rate"] == pytest.approx(sum(row["rate"] for row in rows.values()) / 3)
    audio_s, time_s = (sum(row[name] for row in rows.values()) for name in ("audio_s", "transcription_s"))
    assert audio_s == pytest.approx(0.6 + 0.7 + 0.8 + 0.9)
    assert results["rtfx"] == pytest.approx(audio_s / time_s)
    assert (results["model"], results["normalizer"], results["num_left_out"]) == (trained.name, "own", 0)
    assert (results["weights"], results["split"], results["lang"]) == (weights_digest(trained), None, None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["language", "de", "es", "ja", "mean"]
    assert re.search(rf"{rows['de']['rate']:.2f} +{rows['de']['low']:.2f} to {rows['de']['high']:.2f}", lines[1])


def test_bad_utterances_are_counted_and_the_others_are_evaluated(trained, listed, tmp_path, capsys):
    (tmp_path / "d1.wav").write_bytes(b"no audio")
    with listed.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "x", "audio": "d2.wav", "text": "un mot", "lang": "fr"}\n{"audio": 3}\n')
    out = tmp_path / "results.json"
    options = ["--model", str(trained), "--data", str(listed), "--device", "cpu", "--out", str(out)]
    assert main(options) == 1
    said = capsys.readouterr().err
    assert "own.jsonl:6: got audio 3" in said
    assert "x: language 'fr' is not one of the model's" in said
    assert f"d1: {tmp_path}/d1.wav: Format not recognised" in said
    assert "3 of 6 utterances were left out; see the reasons above" in said
    results = json.loads(out.read_text("utf-8"))
    assert results["num_left_out"] == len(results["left_out"]) == 3
    assert [row["utts"] for row in results["languages"]] == [1, 1, 1]


def test_decoding_options_reach_the_search(trained, listed, tmp_path, monkeypatch):
    opened = []
    initialise = Transcriber.__init__

    def remembered(self, *arguments):
        initialise(self, *arguments)
        opened.append(self.config)

    monkeypatch.setattr(Transcriber, "__init__", remembered)
    out = tmp_path / "results.json"
    limits = ["--tokens_per_s", "25", "--batch_size", "2", "--batch_positions", "300", "--precision", "bf16"]
    assert main(["--model", str(trained), "--data", str(listed), "--device", "cpu", "--out", str(out), *limits]) == 0
    wanted = {"tokens_per_s": 25.0, "batch_size": 2, "batch_positions": 300, "precision": "bf16"}
    assert {name: getattr(opened[0], name) for name in wanted} == wanted
    assert wanted.items() <= json.loads(out.read_text("utf-8")).items()


def test_the_whisper_normaliser_is_that_of_transformers(trained, tmp_path, listed):
    """For English, its English one; whisper-normalizer, which computes ours, has the same spelling table."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer
    from whisper_normalizer.english import EnglishSpellingNormalizer

    english = EnglishTextNormalizer(EnglishSpellingNormalizer().mapping)
    text = "Mr. Smith's colour won't cost twenty-five dollars, [noise] Straße, ÉTÉ"
    assert normaliser("whisper_en")(text) == english(text).strip()
    assert normaliser("whisper")(text) == BasicTextNormalizer()(text).strip()
    out = tmp_path / "results.json"
    options = ["--model", str(trained), "--data", str(listed), "--lang", "de", "--normalizer", "whisper"]
    assert main([*options, "--device", "cpu", "--out", str(out)]) == 0
    results = json.loads(out.read_text("utf-8"))
    assert [row["normaliser"] for row in results["languages"]] == ["whisper"] and results["lang"] == "de"


def test_the_split_of_fleurs_is_in_the_results(trained, tmp_path):
    samples = write_noise(tmp_path / "fleurs/de_de/audio/dev/14.wav", 0.5)
    row = ("1", "14.wav", "Ein Satz.", "ein satz", "e i n", str(len(samples)), "MALE")
    write_text(tmp_path / "fleurs/de_de/dev.tsv", "\t".join(row))
    out = tmp_path / "results.json"
    options = ["--model", str(trained), "--data", str(tmp_path / "fleurs"), "--split", "dev", "--device", "cpu"]
    assert main([*options, "--out", str(out)]) == 0
    assert json.loads(out.read_text("utf-8"))["split"] == "dev"


def test_of_many_utterances_left_out_the_first_are_named_and_the_others_counted(trained, listed, capsys):
    with listed.open("a", encoding="utf-8") as stream:
        stream.write('{"audio": 3}\n' * (MOST_NAMED + 2))
    assert main(["--model", str(trained), "--data", str(listed), "--lang", "ja", "--device", "cpu"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "evaluate: left out: " in line]
    assert len(said) == MOST_NAMED + 1
    assert said[-1] == "zipperasr evaluate: left out: and 2 more; --out lists all"


def test_nothing_that_can_be_transcribed_is_an_error(trained, listed, tmp_path, capsys):
    for utt in REFERENCES:
        (tmp_path / f"{utt}.wav").unlink()
    assert main(["--model", str(trained), "--data", str(listed)]) == 1
    assert "own.jsonl: no utterance could be transcribed; first: d1: " in capsys.readouterr().err


def test_a_language_without_reference_units_has_no_rate_and_is_not_in_the_mean():
    nan = float("nan")
    score = SetScore(
        "own", "", "own", "de", "wer", "whisper", 1, 0, 0, 0, 0, 0, nan, 0, 0, 1, 1, 0, 0, nan, nan, nan, "utterance",
        1, 0, 0, 0, 0,
    )  # fmt: skip
    empty = LanguageResult(score, 2.0, 1.0)
    assert table([empty]).splitlines()[1].split()[-4:] == ["nan", "0", "0", "2.00"]
    assert math.isnan(mean_rate([empty]))
    spoken = LanguageResult(replace(score, language="es", ref_units=4, rate=25.0), 2.0, 1.0)
    assert mean_rate([empty, spoken]) == 25.0
