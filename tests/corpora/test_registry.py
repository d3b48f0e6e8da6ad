from pathlib import Path

import pytest

from tests.corpora.example import write_common_voice
from zipperasr.corpora import CORPORA, find_corpus, read_corpus


def test_joined_splits_yield_each_id_once(tmp_path: Path):
    train = [("c1", "a.mp3", "one"), ("c1", "b.mp3", "two")]
    write_common_voice(tmp_path, {"train": train, "validated": [*train, ("c2", "c.mp3", "three")]})

    utterances = list(read_corpus("commonvoice", tmp_path, "ar", "train+validated"))

    assert [utterance.id for utterance in utterances] == ["a", "b", "c"]


def test_unknown_corpus_names_the_nearest():
    with pytest.raises(
        ValueError,
        match=r"did you mean 'commonvoice'\?.* reader of your own, write commonvoise:local/commonvoise.py",
    ):
        find_corpus("commonvoise")


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_reader_rejects_an_empty_root(corpus: str, tmp_path: Path):
    language = {"wenetspeech": "zh", "librispeech": "en", "mls": "de"}.get(corpus, "th")
    split = "dev" if corpus == "wenetspeech" else "train"
    with pytest.raises(ValueError, match="the directory is empty"):
        list(read_corpus(corpus, tmp_path, language, split))
