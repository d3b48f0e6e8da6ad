"""The readers on real recordings in ../shared."""

import csv
from pathlib import Path

import pytest

from zipperasr.corpora import read_corpus


@pytest.fixture(scope="module")
def speech(shared_dir: Path) -> Path:
    return shared_dir / "fixtures" / "real_speech"


@pytest.fixture(scope="module")
def index(speech: Path) -> dict[str, dict[str, str]]:
    with (speech / "INDEX.tsv").open(encoding="utf-8") as stream:
        return {row["path"]: row for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)}


def test_librispeech_tree_agrees_with_the_index(speech: Path, index: dict):
    utterances = list(read_corpus("librispeech", speech, "en", "dev-clean+test-clean"))

    assert len(utterances) == 4
    for utterance in utterances:
        assert Path(utterance.audio).is_file()
        assert utterance.text == index[str(Path(utterance.audio).relative_to(speech))]["transcript"]


def test_mls_opus_tree_agrees_with_the_index(speech: Path, index: dict):
    (utterance,) = read_corpus("mls", speech, "es", "train")

    assert Path(utterance.audio).is_file() and utterance.speaker == "13697"
    assert utterance.text == index[str(Path(utterance.audio).relative_to(speech))]["transcript"]


def test_common_voice_tables_of_every_language_are_read(speech: Path):
    languages = sorted(path.parent.name for path in (speech / "common_voice").glob("*/validated.tsv"))

    assert {"ar", "de", "ja", "ru", "th", "zh-CN"} <= set(languages)
    for language in languages:
        for split in ("train", "dev", "test", "other", "validated"):
            for utterance in read_corpus("commonvoice", speech / "common_voice", language, split):
                assert utterance.id.startswith("common_voice_") and utterance.text and len(utterance.speaker) == 16
