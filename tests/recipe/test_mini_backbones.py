"""The mini backbones: installed as shipped, refused when damaged, and trained anew at reduced size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, Qwen3ForCausalLM, WhisperModel

from local.mini import backbones
from local.mini.pretrain_llm import INPUTS, LlmSize, Reader
from local.mini.pretraining_data import Pronounced
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
    whisper = str(backbones.SHIPPED / "whisper")
    embeddings = token_embeddings(whisper, language_token_ids(whisper, table))
    assert embeddings.shape == (len(table), AutoConfig.from_pretrained(whisper).d_model)


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


@pytest.fixture
def reader(recipe: Path) -> Reader:
    """Draws from one English line with two phonemes, with the shipped tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    lines = {"en": [Pronounced("to she", ("t", "uː", "ʃ", "iː"))]}
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    return Reader(lines, lines, tokenizer, table, LlmSize(pieces=len(tokenizer) - 3, batch=4), seed=1)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_a_phoneme_is_shown_as_its_letters_at_one_place(reader, blur):
    line = reader.texts["sentence"]["en"][0]
    shown = [reader.place(line, [], "phonemes", blur) for _ in range(50)]
    places = [{} for _ in shown]
    for placed, by_place in zip(shown, places, strict=True):
        for token, position, _ in placed:
            by_place.setdefault(position, set()).add(reader.tokenizer.convert_ids_to_tokens(token))
    clean = {position: set(phoneme) for position, phoneme in enumerate(line.phonemes, 1)}
    assert all(by_place == clean for by_place in places) == (blur == 0.0)
    assert all(set().union(*line.phonemes) >= letters for by_place in places for letters in by_place.values())


def test_the_reader_learns_to_copy_before_it_sees_sentences_and_clean_before_blurred(reader):
    text = reader.batch(0.9)[0].text
    first = [line for _ in range(20) for line in reader.batch(0.0)]
    assert all(line.text != text and len(line.heard) == len(line.text) - 1 <= 6 for line in first)
    assert {bool(line.heard) for _ in range(40) for line in reader.batch(0.9)} == {True, False}
    assert [reader.blur(progress) for progress in (0.0, 0.25, 0.45, 0.65, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert len(LlmSize().inputs) == len(LlmSize().first_inputs) == len(INPUTS)


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
