"""The mini backbones: installed as shipped, rejected if damaged, and retrained at reduced size."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, Qwen3ForCausalLM, WhisperModel

from local.mini import backbones, evaluate_backbones, find_bottleneck, hearing, pretrain_llm, pretrain_whisper
from local.mini.pretrain_llm import LlmSize
from local.mini.pretrain_whisper import WhisperSize
from local.mini.pretraining_data import PretrainingUtterance, Pronounced, plain, pronounce
from local.mini.reading import INPUTS, Reader
from local.mini.texts import make_sentences
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones.whisper_languages import WhisperLanguages
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.model_config import EncoderLoraConfig, LoraConfig, ModelConfig
from zipperasr.model.prompt import end_id


def test_shipped_backbones_are_small_and_load_with_from_pretrained(tmp_path: Path):
    backbones.install(tmp_path / "backbones")
    files = [path for path in backbones.SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    WhisperModel.from_pretrained(tmp_path / "backbones" / "whisper")
    Qwen3ForCausalLM.from_pretrained(tmp_path / "backbones" / "llm")


def test_shipped_whisper_has_a_token_for_every_language_in_the_table(recipe: Path):
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    whisper = str(backbones.SHIPPED / "whisper")
    embeddings = WhisperLanguages.token_embeddings(whisper, language_token_ids(whisper, table))
    assert embeddings.shape == (len(table), AutoConfig.from_pretrained(whisper).d_model)


def test_mini_prompts_have_few_tokens(recipe: Path):
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    for language in LanguageTable.load(recipe / "conf" / "languages.tsv"):
        ids = tokenizer(language.prompt, add_special_tokens=False)["input_ids"]
        assert len(ids) <= 12, language.code
        assert tokenizer.decode(ids) == language.prompt
        assert end_id(tokenizer) not in ids


def test_a_damaged_file_is_reported_and_nothing_is_installed(tmp_path: Path):
    shipped = tmp_path / "shipped"
    shutil.copytree(backbones.SHIPPED, shipped)
    (shipped / "llm" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"llm/config\.json: missing or damaged"):
        backbones.install(tmp_path / "out", shipped)
    assert not (tmp_path / "out").exists()


def test_for_missing_backbones_the_error_says_how_to_train_them(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="--train_backbones true"):
        backbones.install(tmp_path / "out", tmp_path)


@pytest.fixture
def reader(recipe: Path) -> Reader:
    """A generator for one English sentence with two phonemes, with the shipped tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    lines = {"en": [Pronounced("to she", ("t", "uː", "ʃ", "iː"))]}
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    return Reader(lines, lines, tokenizer, table, LlmSize(pieces=len(tokenizer) - 3, batch=4), seed=1)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_a_phoneme_is_represented_by_its_letters_at_one_position(reader, blur):
    line = reader.texts["sentence"]["en"][0]
    shown = [reader.place(line, [], "phonemes", blur) for _ in range(50)]
    places = [{} for _ in shown]
    for placed, by_place in zip(shown, places, strict=True):
        for token, position, _ in placed:
            by_place.setdefault(position, set()).add(reader.tokenizer.convert_ids_to_tokens(token))
    clean = {position: set(phoneme) for position, phoneme in enumerate(line.phonemes, 1)}
    assert all(by_place == clean for by_place in places) == (blur == 0.0)
    assert all(set().union(*line.phonemes) >= letters for by_place in places for letters in by_place.values())


def test_the_reader_learns_copying_before_sentences_and_clean_before_blurred_input(reader):
    text = reader.batch(0.9)[0].text
    first = [line for _ in range(20) for line in reader.batch(0.0)]
    assert all(line.text != text and len(line.heard) == len(line.text) - 1 <= 6 for line in first)
    assert {bool(line.heard) for _ in range(40) for line in reader.batch(0.9)} == {True, False}
    assert [reader.blur(progress) for progress in (0.0, 0.25, 0.45, 0.65, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert len(LlmSize().inputs) == len(LlmSize().first_inputs) == len(INPUTS)


def test_joined_texts_have_up_to_25_s_with_pauses_between_them(recipe: Path):
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    codes = ("en", "ja")
    texts = pronounce({code: make_sentences(code, 20, 1, "pretrain") for code in codes})
    size = LlmSize(pieces=len(tokenizer) - 3, random_until=0.0, blurred_from=0.0, shares=(0, 1, 0, 0), joined=1.0)
    reader = Reader(texts, texts, tokenizer, table, size, seed=1)
    lines = [line for _ in range(5) for line in reader.batch(0.5)]
    heard = [line.heard[-1][1] for line in lines]
    assert all(position < size.longest for position in heard)
    assert max(heard) > size.longest / 2
    known = {plain(line.text).replace(" ", "") for code in codes for line in texts[code]}
    for line in lines:
        left, joined = plain(tokenizer.decode(line.text[:-1])).replace(" ", ""), 0
        while left:
            sentence = next(text for text in known if left.startswith(text))
            left, joined = left[len(sentence) :], joined + 1
        assert joined >= 1
    places = [{position for _, position, _ in line.heard} for line in lines]
    assert any(len(set(range(max(taken))) - taken) > 10 for taken in places)  # pauses


def test_joined_utterances_are_one_clip_with_pauses(utterances):
    size = WhisperSize(ctc_units="phonemes", longest_s=2.5)
    collate = hearing.Collate(None, {}, sorted({"a", "b"}), size, random.Random(1))
    batch = collate.joined(utterances[:4])
    assert sum(batch.lengths) == len(batch.mel) > sum(len(utterance.mel) for utterance in utterances[:4])
    assert batch.num_units.sum() == sum(len(utterance.phonemes) for utterance in utterances[:4])
    assert 1 < len(batch.lengths) < 4
    assert batch.mel.min() == min(utterance.mel.min() for utterance in utterances[:4])


@pytest.fixture
def utterances() -> list[PretrainingUtterance]:
    """Noise labelled as speech."""
    rng = np.random.default_rng(1)
    mels = [rng.standard_normal((size, 80)).astype(np.float16) for size in (80, 90, 100, 110, 120, 130)]
    return [PretrainingUtterance("en", "to she", ("a", "b", "a"), mel) for mel in mels]


def _interrupt(*_):
    raise KeyboardInterrupt


def _same_training(first: Path, second: Path) -> bool:
    logs = [
        [{**json.loads(line), "seconds": 0} for line in (folder / "training_phase1.jsonl").read_text().splitlines()]
        for folder in (first, second)
    ]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, second)]
    return logs[0] == logs[1] and weights[0] == weights[1]


@pytest.fixture
def train_llm(recipe: Path):
    """A function that trains a small LLM; calls with the same arguments start from the same weights."""
    tokenizer = AutoTokenizer.from_pretrained(backbones.SHIPPED / "llm")
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    texts = pronounce({"en": make_sentences("en", 10, 1, "pretrain")})

    def train(out: Path, report=lambda model: {}, **changes):
        settings = {"steps": 6, "width": 32, "batch": 8, "joined": 0.5, "random_until": 0.2, "blurred_from": 0.5}
        size = LlmSize(**{**settings, "pieces": len(tokenizer) - 3, "checkpoint_every": 2, **changes})
        torch.manual_seed(1)
        model = pretrain_llm.build(size, tokenizer)
        pretrain_llm.train(model, Reader(texts, texts, tokenizer, table, size, seed=1), 1, out, report)

    return train


def test_an_interrupted_llm_resumes_to_the_same_weights(train_llm, tmp_path: Path):
    train_llm(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_llm(tmp_path / "resumed", _interrupt, report_every=5)
    assert not (tmp_path / "resumed" / "model.safetensors").exists()
    train_llm(tmp_path / "resumed")
    assert _same_training(tmp_path / "whole", tmp_path / "resumed")


def test_an_interrupted_llm_may_change_the_number_of_steps_but_not_the_learning_rate(train_llm, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train_llm(tmp_path, _interrupt, report_every=5)
    with pytest.raises(ValueError, match=r"state\.pt: written with other values of batch, lr; restore them"):
        train_llm(tmp_path, lr=1e-4, batch=4)
    train_llm(tmp_path, steps=5)
    assert json.loads((tmp_path / "training_phase1.jsonl").read_text().splitlines()[-1])["step"] == 5


def test_an_interrupted_whisper_resumes_to_the_same_weights(utterances, tmp_path: Path):
    tokenizer = pretrain_whisper.load_tokenizer(backbones.SHIPPED / "whisper")
    sizes = {"steps": 9, "width": 32, "batch_frames": 250, "ctc_units": "phonemes", "decoder_every": 3, "joined": 0.5}
    size = WhisperSize(**sizes, checkpoint_every=2)

    def train(out: Path, size: WhisperSize, report=lambda model, units: {}):
        pretrain_whisper.train(utterances, tokenizer, {"en": "en"}, size, 1, out, report=report)

    train(tmp_path / "whole", size)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", replace(size, report_every=7), _interrupt)
    train(tmp_path / "resumed", size)
    assert _same_training(tmp_path / "whole", tmp_path / "resumed")


@pytest.fixture(scope="module")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English and Korean backbones, trained for a few steps, and their language table."""
    folder = tmp_path_factory.mktemp("trained")
    table = LanguageTable.load(recipe / "conf" / "languages.tsv")
    few = LanguageTable([table[code] for code in ("en", "ko")])
    few.save(folder / "languages.tsv")
    tiny = {"width": 32, "batch_frames": 1500, "steps": 2, "pieces": 600}
    config = backbones.BackboneConfig(
        utterances={"en": 6, "ko": 4},
        texts=120,
        whisper=(
            {**tiny, "decoder_every": 0, "ctc_units": "phonemes"},
            {**tiny, "decoder_every": 2},
        ),
        llm=({"steps": 2, "pieces": 700, "width": 32, "batch": 8}, {"steps": 1, "pieces": 700, "batch": 8}),
    )
    with contextlib.chdir(recipe):
        backbones.train(config, few, {}, folder / "backbones", nj=2)
    return folder


def test_retrained_backbones_can_be_installed(trained: Path, tmp_path: Path):
    assert not (trained / "backbones.training").exists()
    backbones.install(tmp_path / "out", trained / "backbones")
    for part in ("llm", "whisper"):
        logs = sorted(path.name for path in (tmp_path / "out" / part).glob("*.jsonl"))
        assert logs == ["training_phase1.jsonl", "training_phase2.jsonl"]
    lines = (tmp_path / "out" / "llm" / "training_phase2.jsonl").read_text().splitlines()
    assert set(json.loads(lines[-1])["recipe clean"]) == {"en", "ko"}
    WhisperModel.from_pretrained(tmp_path / "out" / "whisper")
    Qwen3ForCausalLM.from_pretrained(tmp_path / "out" / "llm")


def test_training_of_trained_backbones_can_be_continued(trained: Path, recipe: Path, tmp_path: Path):
    few = LanguageTable.load(trained / "languages.tsv")

    def train_on(name: str, **more) -> bytes:
        config = backbones.BackboneConfig(texts=120, llm=({}, {}, {"steps": 1, "batch": 4}), **more)
        with contextlib.chdir(recipe):
            backbones.train(config, few, {}, tmp_path / name, 1, trained / "backbones", ("llm",))
        return (tmp_path / name / "llm" / "model.safetensors").read_bytes()

    weights = train_on("one")
    backbones.install(tmp_path / "installed", tmp_path / "one")
    assert Qwen3ForCausalLM.from_pretrained(tmp_path / "installed" / "llm").config.hidden_size == 32
    logs = sorted(path.name for path in (tmp_path / "one" / "llm").glob("*.jsonl"))
    assert logs == [f"training_phase{number}.jsonl" for number in (1, 2, 3)]
    copied, original = (directory / "whisper" for directory in (tmp_path / "one", trained / "backbones"))
    assert (copied / "model.safetensors").read_bytes() == (original / "model.safetensors").read_bytes()
    record = json.loads((tmp_path / "one" / "record.json").read_text())
    assert record["command"].endswith(" --start START --parts llm") and record["start"]["record"]["config"]
    assert train_on("with_swahili", llm_only={"sw": "Tafadhali andika."}) != weights


def test_both_parts_are_written_once_both_are_trained(recipe: Path, tmp_path: Path, trained: Path):
    config = backbones.BackboneConfig(texts=120, llm=({"steps": 1, "pieces": 700, "width": 32, "batch": 4},))
    with contextlib.chdir(recipe):
        backbones.train(config, LanguageTable.load(trained / "languages.tsv"), {}, tmp_path / "new", 1, None, ("llm",))
    assert (tmp_path / "new.training/llm/phase1/model.safetensors").is_file()
    assert not (tmp_path / "new").exists()


@pytest.fixture
def few_utterances(monkeypatch):
    """Reduce the size of the evaluation."""
    monkeypatch.setattr(evaluate_backbones, "PROBE_TEXTS", 10)
    monkeypatch.setattr(evaluate_backbones, "READ_TEXTS", 10)
    for module in (evaluate_backbones, find_bottleneck):
        monkeypatch.setattr(module, "HEARD_TEXTS", 5)


@pytest.mark.usefixtures("few_utterances")
def test_backbones_are_evaluated_by_language(trained: Path, recipe: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    options = ["--backbones", str(trained / "backbones"), "--languages", str(trained / "languages.tsv"), "--nj", "2"]
    assert evaluate_backbones.main([*options, "--out", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert all(set(by_language) == {"en", "ko"} for by_language in figures.values())
    # untrained: about the logarithm of 700 tokens, languages uncertain, few phonemes correct
    assert all(4 < nats < 8 for name in ("unseen clean", "recipe joined") for nats in figures[name].values())
    assert sum(figures["languages named"].values()) <= 1.5
    assert all(0.5 < error <= 1.2 for error in figures["phoneme error alone"].values())
    assert "| recipe clean |" in capsys.readouterr().out


@pytest.fixture
def trainings(trained: Path, tmp_path: Path) -> list[Path]:
    """An alignment and an adaptation to Korean, saved before their first step."""
    whisper, llm = (str(trained / "backbones" / part) for part in ("whisper", "llm"))
    model = ModelConfig(whisper, llm, mel_bins=80, encoder_lora=EncoderLoraConfig(4, 8), llm_lora=LoraConfig(4, 8))
    align, sft = tmp_path / "align", tmp_path / "sft"
    for experiment, out in (
        (Experiment("align", "chunked", None, None, (), 1, model), align),
        (Experiment("sft", "full", "vanilla", str(align), ("ko",), 1, model), sft),
    ):
        out.mkdir()
        save_trained(build_for_training(experiment, torch.float32, seed=1), out / "model.safetensors")
        experiment.save(out)
    return [align, sft]


@pytest.mark.usefixtures("few_utterances")
def test_the_bottleneck_is_measured_for_each_training(trained, trainings, recipe: Path, monkeypatch):
    monkeypatch.chdir(recipe)
    out = trainings[0].parent / "bottleneck.json"
    options = ["--languages", str(trained / "languages.tsv"), "--steps", "3", "--out", str(out)]
    assert find_bottleneck.main([*options, "--exp", *map(str, trainings)]) == 0
    align, sft = (json.loads(out.read_text())[str(path)] for path in trainings)
    assert all(set(by_language) == {"en", "ko"} for by_language in align.values())
    assert all(set(by_language) == {"ko"} for by_language in sft.values())
    assert align["nats, projector + 3 steps"] != align["nats, projector"]
    assert align["phoneme error, encoder"] != align["phoneme error, projector"]


def test_every_figure_is_in_the_column_of_its_language():
    table = evaluate_backbones.markdown({"nats": {"en": 1.0, "ko": 2.0}, "errors": {"ko": 0.4, "en": 0.2}})
    assert table.splitlines()[0] == "| | en | ko | mean |"
    assert table.splitlines()[2:] == ["| nats | 1.00 | 2.00 | 1.50 |", "| errors | 0.20 | 0.40 | 0.30 |"]


def test_evaluating_without_backbones_is_an_error(recipe: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    assert evaluate_backbones.main(["--backbones", str(tmp_path), "--out", str(tmp_path / "figures.json")]) == 1
    assert "contains neither llm nor whisper" in capsys.readouterr().err
