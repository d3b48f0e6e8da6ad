"""The languages of the recipe in the vocabulary of Whisper large-v3."""

from __future__ import annotations

import dataclasses
import json

import pytest

from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import language_token_ids


@pytest.fixture
def table(recipe) -> LanguageTable:
    return LanguageTable.load(recipe / "conf" / "languages.tsv")


def test_every_language_has_its_published_token(whisper_files, table):
    published = json.loads((whisper_files / "generation_config.json").read_text(encoding="utf-8"))["lang_to_id"]
    ids = language_token_ids(str(whisper_files), table)
    assert ids == [published[f"<|{language.whisper_token}|>"] for language in table]
    assert len(set(ids)) == 13


def test_a_token_that_large_v3_lacks_is_an_error(whisper_files, table):
    (first, *_) = table
    unknown = LanguageTable([dataclasses.replace(first, whisper_token="eo")])
    with pytest.raises(ValueError, match=r"en: .* has no token <\|eo\|>; use the token of a related language instead"):
        language_token_ids(str(whisper_files), unknown)
