"""A corpus and a language added at run time by another package; test_extending.py runs complete recipes."""

from __future__ import annotations

from pathlib import Path

from tests.corpora.example import write_noise, write_text
from tests.prepare.example import Recipe
from zipperasr.corpora import CORPORA, Corpus


def test_another_package_adds_a_corpus_and_a_language_in_one_module_and_two_lines(tmp_path: Path, monkeypatch):
    """A reader outside zipperasr, one line in the registry with the corpus's properties, one line in languages.tsv."""
    write_text(
        tmp_path / "my_corpora" / "shouted.py",
        "from zipperasr.corpora.utterance import Utterance",
        "def read(root, language, split):",
        "    for utt_id in (f'{split}{number}' for number in range(3)):",
        "        yield Utterance(utt_id, utt_id, f'{root}/{split}.wav', 'HABARI YAKO', language)",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(CORPORA, "shouted", Corpus("my_corpora.shouted", upper_case=True))
    recipe = Recipe(tmp_path, "sft shouted sw both train 1 dev test 1 - -")
    with (tmp_path / "languages.tsv").open("a") as stream:
        stream.write("sw\tsw\tSwahili\twer\twhisper\tx\n")
    roots = (tmp_path / "corpora.yaml").read_text().replace("roots:\n", f"roots:\n  shouted: {tmp_path}\n")
    (tmp_path / "corpora.yaml").write_text(roots)
    for split in ("train", "dev", "test"):
        write_noise(tmp_path / f"{split}.wav")

    assert recipe.prepare() == 0

    texts = (recipe.out / "train_shouted_sw" / "text").read_text().splitlines()
    assert texts == [f"train{number}-train{number} habari yako" for number in range(3)]
    assert recipe.report("test_shouted_sw")["utterances"] == "3"
