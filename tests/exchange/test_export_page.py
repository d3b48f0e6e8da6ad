"""docs/export.md: all commands and Python blocks run unchanged, in the order of the page, on a tiny recipe."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import WhisperModel

from tests.exchange.outputs import TOLERANCE, distance, logits, ours, through_our_encoder
from tests.exchange.test_importer import TABLE, foreign_names
from tests.exchange.test_peft_import import ENCODER
from zipperasr.__main__ import main
from zipperasr.exchange.merged_model import load_merged
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.experiment import Experiment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
BLOCK = re.compile(r"^```(\w+)(?: write=(\S+))?\n(.*?)^```$", re.M | re.S)
SOFT, ALIGN = "exp/sft_zipper_soft_chunked", "exp/align_chunked"


@pytest.fixture
def page_recipe(own_recipe, monkeypatch) -> Path:
    """The tiny recipe under the names that the page uses, with a foreign checkpoint and adapter."""
    monkeypatch.chdir(own_recipe)
    Path("exp/align").rename(ALIGN)
    Path("exp/sft_zipper_soft").rename(SOFT)
    config = Path(SOFT) / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("exp/align\n", f"{ALIGN}\n"), encoding="utf-8")
    return own_recipe


def others_make_their_files() -> None:
    torch.manual_seed(2)
    whisper = WhisperModel.from_pretrained("peft/base")
    lora = get_peft_model(whisper, LoraConfig(r=4, target_modules=ENCODER, init_lora_weights=False))
    lora.save_pretrained("their_lora")
    shutil.copytree(SOFT, "exp/sft_zipper_soft")  # where foreign_names expects it
    torch.save(foreign_names(list(load_pretrained(SOFT).model.adapters.layers)), "their_weights.pt")


def run(block: str) -> None:
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        command, *call = shlex.split(line)
        assert command == "zipperasr"
        assert main(call) == 0, line


def test_all_blocks_run_in_order(page_recipe, capsys):
    pytest.importorskip("espnet2.main_funcs.pack_funcs", reason="no ESPnet: run tools/install_espnet.sh")
    names: dict = {}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    for language, path, text in blocks:
        if "their_lora" in text:
            others_make_their_files()
        if path:
            Path(path).write_text(text, encoding="utf-8")
        elif language == "bash":
            run(text)
        else:
            exec(compile(text, str(PAGE), "exec"), names)
    check_what_python_got(names)
    check_what_was_written(capsys.readouterr().out)


def check_what_python_got(names: dict) -> None:
    own = load_pretrained(SOFT).model
    assert distance(through_our_encoder(names["model"].eval().base_model.model), ours(own, "ja")) <= TOLERANCE
    assert distance(names["merged"].encoder.whisper.layers[0].fc1.weight, names["encoder"].layers[0].fc1.weight) == 0
    assert distance(logits(names["opened"].model), logits(own)) == 0
    assert names["how"]["language"] == "ja" and "gate.weight" in names["projector"]
    assert distance(logits(load_pretrained("from_espnet").model), logits(own)) == 0
    exact = load_pretrained(SOFT, torch.float64).model
    assert distance(logits(load_merged("merged_ja", torch.float64), "ja"), logits(exact, "ja")) <= TOLERANCE


def check_what_was_written(printed: str) -> None:
    own = load_pretrained(SOFT).model
    assert Experiment.load("exp/from_theirs").lora == "zipper_soft"
    for again in ("exp/soft_again", "exp/theirs"):
        assert distance(logits(load_pretrained(again).model), logits(own)) == 0
    assert Path("small.zip").stat().st_size < Path("soft.zip").stat().st_size
    assert "unmapped\tmodel.lid.de\t[16] float32" in printed and "missing\t" not in printed


def test_every_block_is_found_and_the_tested_table_is_that_of_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(BLOCK.findall(text))
    (table,) = [block for language, _, block in BLOCK.findall(text) if language == "tsv"]
    assert table == TABLE
