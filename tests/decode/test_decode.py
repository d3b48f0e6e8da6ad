"""Stage 7 at the command line: which test sets are decoded. Nothing is decoded here."""

from __future__ import annotations

import argparse

import pyarrow.feather as feather
import pytest

from zipperasr.batching.manifest import SCHEMA
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.stages.decode import _test_sets, main

ROWS = [("en", "align"), ("de", "sft"), ("es", "sft"), ("sw", "sft")]


@pytest.fixture
def chosen(tmp_path):
    """The names of the test sets for a phase, the model's languages and options."""
    rows = [SetRow(f"test_x_{code}", "test", phase, "x", code) for code, phase in ROWS]
    rows.append(SetRow("train_x_de", "train", "sft", "x", "de"))
    write_sets(tmp_path / "sets.tsv", rows)
    for row in rows:
        feather.write_feather(SCHEMA.empty_table(), tmp_path / f"{row.set}.arrow")

    def run(phase: str = "sft", lang=(), sets=None) -> list[str]:
        experiment = Experiment(phase, "chunked", None, None, ("en", "de", "es"), 1, ModelConfig("whisper", "llm"))
        options = argparse.Namespace(manifest=tmp_path, sets=sets, lang=list(lang))
        return [manifest.name for manifest in _test_sets(options, experiment)]

    return run


def test_an_alignment_decodes_the_sets_of_its_phase(chosen):
    assert chosen("align") == ["test_x_en"]


def test_an_adapted_system_decodes_all_languages_that_it_knows(chosen):
    assert chosen() == ["test_x_en", "test_x_de", "test_x_es"]


def test_languages_and_sets_can_be_chosen(chosen):
    assert chosen(lang=["es", "de"]) == ["test_x_de", "test_x_es"]
    assert chosen(sets=["test_x_en"]) == ["test_x_en"]


@pytest.mark.parametrize("code", ["sw", "fr"])
def test_a_language_without_a_test_set_that_the_model_knows_is_named(chosen, code):
    with pytest.raises(ValueError, match=f"sets.tsv: no test set in {code} that the model knows; write its line"):
        chosen(lang=["de", code])


def test_a_second_decoding_of_a_test_set_stops_before_it_writes(chosen, tmp_path, capsys, held_elsewhere):
    chosen()
    write = {
        "conf/decode.yaml": "beam: 1\n",
        "conf/languages.tsv": "code\twhisper_token\tname\tunit\tnormaliser\tprompt\nde\tde\tde\twer\twhisper\tText:\n",
        "exp/model.safetensors": "",
    }
    for name, text in write.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    Experiment("sft", "chunked", "zipper_soft", None, ("de",), 1, ModelConfig("whisper", "llm")).save(tmp_path / "exp")
    message = held_elsewhere(tmp_path / "exp" / "decode_greedy_chunked" / "test_x_de")
    paths = {"exp": "exp", "manifest": ".", "config": "conf/decode.yaml", "languages": "conf/languages.tsv"}
    assert main([word for key, path in paths.items() for word in (f"--{key}", str(tmp_path / path))]) == 1
    assert message in capsys.readouterr().err
