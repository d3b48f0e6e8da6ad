"""A model whose added language has a projector of its own: decoding in mixed batches, streaming and exporting it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.exchange.conftest import BACKBONES
from tests.exchange.outputs import TOLERANCE, distance
from tests.model import tiny
from zipperasr.batching.batch import collate, collate_speech
from zipperasr.decode.chunk_cache import ChunkCache, embed_speech
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.exchange.export import main
from zipperasr.exchange.merged_model import load_merged
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment, located, weights_digest
from zipperasr.model.experiment_model import build_for_training

KOREAN = [tiny.example("k1", "ko", 14_000, "x", 6), tiny.example("k2", "ko", 25_000, "x", 7)]
GERMAN = tiny.two_packs()[0]


@pytest.fixture(scope="module")
def korean(recipe_dir, tmp_path_factory) -> Path:
    """exp/ko of a recipe: exp/sft_zipper_soft with Korean, whose bank and projector were trained."""
    recipe = Path(shutil.copytree(recipe_dir, tmp_path_factory.mktemp("own") / "recipe"))
    source, directory = recipe / "exp/sft_zipper_soft", recipe / "exp/ko"
    experiment = replace(
        located(Experiment.load(source), source), init=None, init_from=str(source),
        init_from_weights=weights_digest(source), languages=(*tiny.CODES, "ko"), added=("ko",), bank_from="shared",
        trained=("bank", "own_projector"),
        lid=torch.cat([load_file(source / "model.safetensors")["adapters.router.embeddings"], torch.ones(1, 16)]),
    )  # fmt: skip
    model = build_for_training(experiment, torch.float32, seed=1)
    with torch.no_grad():
        for parameter in model.projector.of("ko").parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    directory.mkdir()
    written = replace(experiment, init_from="exp/sft_zipper_soft", model=replace(experiment.model, **BACKBONES))
    written.save(directory)
    save_trained(model, directory / "model.safetensors")
    tiny.table().chosen(experiment.languages).save(directory / "languages.tsv")
    return directory


@torch.no_grad()
def logits(model, examples) -> torch.Tensor:
    return model.eval().packed_logits(collate([list(examples)]), 50)


def tokens(opened, batches) -> dict[str, tuple[int, ...]]:
    decoder = Decoder(opened.model.eval(), opened.tokenizer, DecodeConfig(tokens_per_s=5), 50)
    return {decoded.example.utt_id: decoded.tokens for decoded in decoder.run(batches)}


def test_every_utterance_of_a_mixed_batch_is_decoded_with_its_language_s_projector(korean):
    opened = load_pretrained(korean)
    mixed = tokens(opened, [[*GERMAN, *KOREAN]])
    assert mixed == tokens(opened, [GERMAN]) | tokens(opened, [KOREAN])
    before = load_pretrained(korean.parent / "sft_zipper_soft")
    assert tokens(opened, [GERMAN]) == tokens(before, [GERMAN])
    opened.model.projector.own.clear()
    assert mixed != tokens(opened, [[*GERMAN, *KOREAN]])


@torch.inference_mode()
def test_a_stream_uses_the_language_s_projector(korean):
    model = load_pretrained(korean).model.eval()
    speech = collate_speech([*GERMAN, *KOREAN])
    found = embed_speech(model, speech, 50, [ChunkCache() for _ in speech.languages])[0]
    assert distance(found, model.embed_speech(speech, 50)[0]) <= TOLERANCE


def test_the_merged_model_of_each_language_has_its_projector(korean, tmp_path):
    model = load_pretrained(korean, torch.float64).model
    for code, examples in (("ko", KOREAN), ("de", GERMAN)):
        out = tmp_path / code
        assert main(["--model", str(korean), "--format", "merged", "--lang", code, "--out", str(out)]) == 0
        assert distance(logits(load_merged(out, torch.float64), examples), logits(model, examples)) <= TOLERANCE
        assert set(load_file(out / "projector.safetensors")) == {
            name for name in model.projector.state_dict() if not name.startswith("own.")
        }


def test_a_bundle_contains_it(korean, tmp_path):
    before = load_pretrained(korean).model
    path = tmp_path / "m.zip"
    assert main(["--model", str(korean), "--format", "bundle", "--out", str(path)]) == 0
    opened = load_pretrained(path).model
    assert torch.equal(logits(opened, KOREAN), logits(before, KOREAN))
    assert opened.projector.of("ko") is not opened.projector


def test_it_cannot_be_exported_to_peft(korean, tmp_path, capsys):
    call = ["--model", str(korean), "--format", "peft", "--out", str(tmp_path / "out"), "--lang"]
    assert main([*call, "all"]) == 1
    wanted = "ko: has a projector of its own, which a PEFT adapter cannot contain; use --format merged or bundle"
    assert wanted in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*call, "de", "ja"]) == 0
