"""The command trains an aligner for a tiny model, without changing the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.decode.model_and_sets import write_model_and_sets
from tests.model import tiny
from zipperasr.__main__ import main
from zipperasr.align.aligner import CONFIG, WEIGHTS, Aligner
from zipperasr.align.speech import choose_rows, labelled
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.model.experiment_model import load_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """align/, a model, and its test sets as training sets."""
    base = tmp_path_factory.mktemp("aligner")
    tiny.write_backbones(base / "backbones")
    write_model_and_sets(base, base / "backbones")
    tiny.table().save(base / "align" / "languages.tsv")
    write_sets(base / "sets.tsv", [SetRow(f"test_x_{code}", "train", "align", "x", code) for code in tiny.CODES])
    return base


def train(base, *options: str) -> int:
    return main(["train-aligner", "--model", str(base / "align"), "--manifest", str(base), "--hidden", "8", *options])


def test_the_command_writes_an_aligner_and_leaves_the_model_as_it_is(base):
    before = (base / "align" / "model.safetensors").read_bytes()
    assert train(base, "--epochs", "2", "--minutes", "1", "--kernel", "3", "--prior", "0.3", "--seed", "4") == 0
    assert (base / "align" / "model.safetensors").read_bytes() == before
    aligner = Aligner.load(base / "align")
    assert (aligner.config.characters, aligner.config.kernel, aligner.config.prior) == ("ein", 3, 0.3)
    times = np.array(aligner.times(torch.randn(20, aligner.config.width), ["ein", "nie"]))
    assert (np.diff(times.flatten()) >= 0).all() and times.max() <= 0.4


def test_the_same_command_writes_the_same_aligner(base):
    written = []
    for _ in range(2):
        assert train(base, "--epochs", "1") == 0
        written.append([(base / "align" / name).read_bytes() for name in (CONFIG, WEIGHTS)])
    assert written[0] == written[1]


def test_utterances_are_drawn_by_language_up_to_the_minutes(base):
    rows = choose_rows(base, tiny.CODES, minutes=0.02, seed=1)
    for code, found in rows.items():
        samples = [row["num_samples"] for row in found]
        assert {row["language"] for row in found} == {code}
        assert sum(samples[:-1]) < 0.02 * 60 * 16_000
    assert choose_rows(base, tiny.CODES, minutes=0.02, seed=1) == rows != choose_rows(base, tiny.CODES, 0.02, seed=2)


def test_a_language_without_speech_is_an_error(base):
    with pytest.raises(ValueError, match="no training utterance of up to 20 s in fr; run stages 1 to 3"):
        choose_rows(base, ("de", "fr"), minutes=1.0, seed=1)


def test_a_language_whose_utterances_cannot_be_used_is_an_error(base):
    rows = choose_rows(base, tiny.CODES, minutes=1.0, seed=1)
    rows["es"] = [{**row, "text": "..."} for row in rows["es"]]
    aligner, model = Aligner.load(base / "align"), load_model(base / "align").eval()
    with pytest.raises(ValueError, match="no utterance drawn in es has letters and enough frames for them"):
        labelled(model, base / "align", aligner, rows)


def test_a_model_that_another_run_writes_gets_no_aligner(base, capsys):
    (base / ".align.lock").write_text("")
    assert train(base, "--epochs", "1") == 1
    (base / ".align.lock").unlink()
    assert ".align.lock exists" in capsys.readouterr().err


def test_bad_options_are_one_line(base, capsys):
    assert train(base, "--minutes", "0") == 1
    assert "minutes: got 0.0, wanted a finite number above 0" in capsys.readouterr().err
