"""Slips in settings are named before the first stage."""

from __future__ import annotations

import shutil

import pytest

from zipperasr.stages.preflight import main


@pytest.fixture
def conf(recipe, tmp_path, monkeypatch):
    """A copy of the recipe's conf/, in the working directory."""
    shutil.copytree(recipe / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


@pytest.mark.parametrize("scale", ["mini", "full"])
@pytest.mark.parametrize("setting", ["1h", "30h"])
def test_the_recipe_as_it_stands_passes(conf, scale, setting):
    assert main(["--conf", f"conf/{scale}", "--setting", setting]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conf", "conf/minni"], "unknown scale 'minni'; did you mean 'mini'?"),
        (["--setting", "10h"], "unknown setting '10h'"),
        (["--lora", "zippersoft"], "unknown lora 'zippersoft'; did you mean 'zipper_soft'?"),
        (["--regime", "chunk"], "unknown regime 'chunk'; did you mean 'chunked'?"),
        (["--initial_parts", "b", "roter"], "--initial_parts 'roter'; did you mean 'router'?"),
        (["--add_lang", "sw"], "--add_lang CODE and --init_from DIRECTORY of a trained model must be given together"),
        (["--init_from", "exp/none", "--add_lang", "sw"], "exp/none/config.yaml: no finished training here"),
        (["--train_args", "lrr=1"], "unknown key 'lrr'; did you mean 'lr'?"),
        (["--train_args", "lr"], "wanted key=value"),
        (["--decode_args", "beams=4"], "unknown key 'beams'; did you mean 'beam'?"),
        (["--train_args", "lr=nan"], "--train_args lr=nan: lr: got nan, wanted at least 0 and finite"),
        (["--train_args", "lr=[1"], "--train_args lr=[1: not valid YAML"),
        (["--train_args", "lr.x=1"], "--train_args lr.x=1: lr is a single value"),
        (["--decode_args", "beam=0"], "--decode_args beam=0: beam: got 0, wanted at least 1"),
        (["--decode_args", "precision=fp8"], "--decode_args precision=fp8: precision: unknown value 'fp8'"),
        (["--nproc", "0"], "--nproc 0: wanted a whole number, at least 1"),
        (["--nj", "two"], "--nj two: wanted a whole number, at least 1"),
        (["--ngpu", "-1"], "--ngpu -1: wanted a whole number, at least 0"),
        (["--seed", "9" * 400], "wanted a whole number, at least 0"),
    ],
)
def test_a_slip_is_one_line(conf, capsys, arguments, message):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_language_in_the_data_set_table_is_named(conf, capsys):
    table = conf / "datasets.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("\tko\t", "\tkr\t"), encoding="utf-8")
    assert main([]) == 1
    assert "kr" in capsys.readouterr().err


def test_a_missing_configuration_is_named(conf, capsys):
    (conf / "mini" / "sft.yaml").unlink()
    assert main([]) == 1
    assert "conf/mini/sft.yaml: no such configuration file" in capsys.readouterr().err
