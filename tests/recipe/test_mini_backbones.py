"""The mini backbones: installed as shipped, refused when damaged, and trained anew at reduced size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer, Qwen3ForCausalLM, WhisperModel

from local.mini import backbones
from zipperasr.languages import LanguageTable
from zipperasr.lid.run import language_token_ids, token_embeddings
from zipperasr.model.prompt import end_id


def test_shipped_backbones_are_small_and_load_as_a_hubs_would(tmp_path: Path):
    backbones.install(tmp_path / "backbones")
    files = [path for path in backbones.SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    WhisperModel.from_pretrained(tmp_path / "backbones" / "whisper")
    Qwen3ForCausalLM.from_pretrained(tmp_path / "backbones" / "llm")


def test_shipped_whisper_knows_every_language_of_the_table(recipe: Path):
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    model = WhisperModel.from_pretrained(backbones.SHIPPED / "whisper").float()
    embeddings = token_embeddings(model, language_token_ids(str(backbones.SHIPPED / "whisper"), table))
    assert embeddings.shape == (len(table), model.config.d_model)


def test_mini_prompts_are_few_pieces(recipe: Path):
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    for language in LanguageTable.load(recipe / "conf" / "languages.tsv"):
        ids = tokenizer(language.prompt, add_special_tokens=False)["input_ids"]
        assert len(ids) <= 12, language.code
        assert tokenizer.decode(ids) == language.prompt
        assert end_id(tokenizer) not in ids


def test_a_damaged_file_is_named_and_nothing_is_installed(tmp_path: Path):
    shipped = tmp_path / "shipped"
    shutil.copytree(backbones.SHIPPED, shipped)
    (shipped / "llm" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"llm/config\.json: missing or damaged"):
        backbones.install(tmp_path / "out", shipped)
    assert not (tmp_path / "out").exists()


def test_missing_backbones_say_how_to_make_them(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="--train_backbones true"):
        backbones.install(tmp_path / "out", tmp_path)


def test_training_them_anew_gives_what_install_expects(recipe: Path, tmp_path: Path):
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    few = LanguageTable([table[code] for code in ("en", "ko")])
    tiny = {"width": 32, "batch_frames": 1500}
    config = backbones.BackboneConfig(
        utterances={"en": 6, "ko": 4},
        texts=120,
        whisper=(
            {**tiny, "steps": 2, "pieces": 600, "decoder_every": 0, "ctc_units": "phonemes"},
            {**tiny, "steps": 2, "pieces": 600, "decoder_every": 2},
        ),
        llm={"steps": 2, "pieces": 700, "width": 32, "batch": 8},
    )
    backbones.train(config, few, {}, tmp_path / "trained", nj=2)
    backbones.install(tmp_path / "out", tmp_path / "trained")
    assert (tmp_path / "out" / "whisper" / "training_phase2.jsonl").is_file()
    WhisperModel.from_pretrained(tmp_path / "out" / "whisper")
