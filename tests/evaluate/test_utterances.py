"""Utterances to evaluate on: every format of own data and FLEURS are read, and what is left out is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import EMBEDDED, WRITERS, write_audio
from zipperasr.corpora import fleurs
from zipperasr.evaluate.utterances import read_utterances

GOOD = {"id": "a", "audio": "a.wav", "text": "ein  Satz", "lang": "de"}


def write_list(directory: Path, *rows: dict | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    return write_text(directory / "own.jsonl", *lines)


def write_fleurs(root: Path, *bad: str, folder: str = "de_de", split: str = "test") -> Path:
    samples = write_noise(root / folder / "audio" / split / "14.wav", 0.5)
    row = ("1", "14.wav", "Ein Satz.", "ein satz", "e i n", str(len(samples)), "MALE")
    return write_text(root / folder / f"{split}.tsv", "\t".join(row), *bad)


@pytest.mark.parametrize("name", [*WRITERS, *EMBEDDED])
def test_every_format_of_own_data_is_read(tmp_path, name):
    write_audio(tmp_path)
    path = (WRITERS | EMBEDDED)[name][1](tmp_path, "test")
    found = read_utterances(path.parent if path.name in ("text", "state.json") else path)
    assert {code: len(rows) for code, rows in found.languages.items()} == {"de": 2, "es": 1}
    assert found.left_out == []


def test_fleurs_is_recognised_and_a_bad_line_is_named(tmp_path):
    write_fleurs(tmp_path, "2\tonly two cells")
    write_fleurs(tmp_path, folder="cmn_hans_cn")
    found = read_utterances(tmp_path)
    assert found.reader == "fleurs"
    assert {code: list(rows) for code, rows in found.languages.items()} == {"de": ["14"], "zh": ["14"]}
    (reason,) = found.left_out
    assert reason.startswith(f"{tmp_path}/de_de/test.tsv:2: got 2 cells, wanted 7")


def test_languages_of_fleurs_whose_audio_is_not_unpacked_are_named_and_counted(tmp_path):
    write_fleurs(tmp_path)
    write_fleurs(tmp_path, "2\tonly two cells", folder="es_419")
    shutil.rmtree(tmp_path / "es_419/audio")
    found = read_utterances(tmp_path)
    assert list(found.languages) == ["de"]
    packed, bad = found.left_out
    assert packed == f"14: {tmp_path}/es_419/audio/test: no such directory; {fleurs.REMEDY}"
    assert bad.startswith(f"{tmp_path}/es_419/test.tsv:2: ")
    assert read_utterances(tmp_path, lang="de").left_out == []


@pytest.mark.parametrize("lang", ["es", None])
def test_fleurs_without_unpacked_audio_is_an_error(tmp_path, lang):
    write_fleurs(tmp_path)
    write_fleurs(tmp_path, folder="es_419")
    shutil.rmtree(tmp_path / "es_419/audio")
    if lang is None:
        shutil.rmtree(tmp_path / "de_de/audio")
    with pytest.raises(ValueError, match=rf"_\w+/audio/test: no such directory; {re.escape(fleurs.REMEDY)}"):
        read_utterances(tmp_path, lang)


def test_one_language_and_another_split_of_fleurs(tmp_path):
    write_fleurs(tmp_path, split="dev")
    write_fleurs(tmp_path, folder="es_419", split="dev")
    assert list(read_utterances(tmp_path, lang="es", split="dev").languages) == ["es"]


def test_what_cannot_be_used_is_left_out_by_name(tmp_path):
    rows = (GOOD, GOOD, {**GOOD, "id": "b", "text": " "}, {**GOOD, "id": "c", "lang": ""}, "{", {**GOOD, "id": "d"})
    found = read_utterances(write_list(tmp_path, *rows))
    assert {utt: row.text for utt, row in found.languages["de"].items()} == {"a": "ein Satz", "d": "ein Satz"}
    assert [reason.partition(" (")[0] for reason in found.left_out] == [
        "a: this id is in the list already",
        "b: no text",
        "c: no language; add a field `lang`, or give --lang CODE",
        f"{tmp_path}/own.jsonl:5: not JSON",
    ]


def test_lang_is_that_of_utterances_without_one_and_excludes_others(tmp_path):
    rows = (GOOD, {**GOOD, "id": "b", "lang": ""}, {**GOOD, "id": "c", "lang": "es"})
    found = read_utterances(write_list(tmp_path, *rows), lang="de-DE")
    assert list(found.languages["de"]) == ["a", "b"] and list(found.languages) == ["de"]
    assert found.left_out == []


def test_languages_that_the_model_lacks_are_left_out(tmp_path):
    found = read_utterances(write_list(tmp_path, GOOD, {**GOOD, "id": "b", "lang": "fr"}))
    found.leave_out_languages_except(["de", "es"])
    assert list(found.languages) == ["de"]
    assert found.left_out == ["b: language 'fr' is not one of the model's, de, es"]
    with pytest.raises(ValueError, match=r"own.jsonl: a: language 'de' is not one .* choose other data"):
        found.leave_out_languages_except(["es"])


def test_data_without_a_usable_utterance_is_an_error(tmp_path):
    path = write_list(tmp_path, {**GOOD, "text": ""})
    with pytest.raises(ValueError, match=r"own.jsonl \(jsonl\): no utterance to evaluate on; first: a: no text"):
        read_utterances(path)
    with pytest.raises(ValueError, match=r"own.jsonl \(jsonl\): no utterance in 'es'$"):
        read_utterances(path, lang="es")
