"""Models of every variant and format transcribe in float32 and in bfloat16."""

from __future__ import annotations

import dataclasses
import json

import pytest
import soundfile
import torch

from tests.exchange.outputs import TOLERANCE, distance, logits
from tests.model import tiny
from zipperasr.audio.segments import EDGE_FRAMES
from zipperasr.batching.batch import collate_speech
from zipperasr.batching.loader import ExampleReader
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.exchange import export, importer
from zipperasr.exchange.merged_model import load_merged
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lora import VARIANTS
from zipperasr.transcribe import __main__ as transcribe

PRECISIONS = ("fp32", "bf16")
PLAIN = [
    name for name, variant in VARIANTS.items() if variant.unmergeable is None
]  # equivalent to a plain LoRA for any single language


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", tiny.noise(12_000, seed=3).numpy(), 16_000)
    return tmp_path / "a.wav"


@pytest.fixture
def texts(recording, capsys):
    """A function from a model to its transcripts of a recording in each precision, by `zipperasr transcribe`."""

    def of(model) -> list[str]:
        found = []
        for precision in PRECISIONS:
            call = [str(recording), "--model", str(model), "--lang", "de", "--precision", precision]
            assert transcribe.main([*call, "--tokens_per_s", "2"]) == 0
            found.append(capsys.readouterr().out.strip())
        return found

    return of


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_training_directory_bundle_and_imported_bundle_give_the_same_transcripts(recipe_dir, tmp_path, texts, variant):
    training = recipe_dir / "exp" / f"sft_{variant}"
    path = tmp_path / "m.zip"
    assert export.main(["--model", str(training), "--format", "bundle", "--out", str(path)]) == 0
    assert importer.main(["--bundle", str(path), "--out", str(tmp_path / "imported")]) == 0
    wanted = texts(training)
    assert all(wanted)
    assert texts(path) == texts(tmp_path / "imported") == wanted
    before, after = (load_pretrained(place, torch.bfloat16).model for place in (training, path))
    assert distance(logits(after), logits(before)) == 0.0


@pytest.mark.parametrize("variant", PLAIN)
def test_a_model_imported_from_peft_transcribes(recipe_dir, own_recipe, texts, variant):
    """Uses own_recipe because the imported training refers to its alignment."""
    training, adapters = recipe_dir / "exp" / f"sft_{variant}", own_recipe / "adapters"
    for dtype in ("float32", "bfloat16"):
        out = own_recipe / "exp" / f"imported_{dtype}"
        call = ["--model", str(training), "--format", "peft", "--lang", "de", "--dtype", dtype]
        assert export.main([*call, "--out", f"{adapters}_{dtype}"]) == 0
        paths = {"peft": f"{adapters}_{dtype}/de", "model": own_recipe / "exp/align", "lid": own_recipe / "exp/lid"}
        options = [word for name, value in paths.items() for word in (f"--{name}", str(value))]
        assert importer.main([*options, "--lora", variant, "--out", str(out)]) == 0
        assert all(texts(out))


@torch.no_grad()
def test_every_format_keeps_padding_to_30_s(own_recipe, recording, tmp_path, texts):
    training, merged = own_recipe / "exp/sft_vanilla", tmp_path / "merged"
    config = training / "config.yaml"
    config.write_text(config.read_text().replace("pad_to_30s: false", "pad_to_30s: true"))
    assert export.main(["--model", str(training), "--format", "bundle", "--out", str(tmp_path / "m.zip")]) == 0
    assert texts(tmp_path / "m.zip") == texts(training)
    assert export.main(["--model", str(training), "--format", "merged", "--lang", "de", "--out", str(merged)]) == 0
    facts = json.loads((merged / "zipperasr.json").read_text())
    assert facts["pad_to_30s"] is True and "padded with the log-mel of silence to 30 s" in facts["features"]
    ours, other = load_pretrained(training, torch.float64).model, load_merged(merged, torch.float64)
    read = ExampleReader(tiny.llm_tokenizer(), tiny.table(), tiny.FRONTEND, edge_frames=EDGE_FRAMES)
    speech = collate_speech([read.of_audio("u", "de", tiny.noise(12_000, seed=3))])
    theirs = other.embed_speech(speech, None)[0]
    assert distance(theirs, ours.embed_speech(speech, None)[0]) <= TOLERANCE
    ours.encoder.pad_to_30s = False
    bare = dataclasses.replace(speech, mel=speech.mel[:-EDGE_FRAMES], edge_frames=0)
    assert distance(theirs, ours.embed_speech(bare, None)[0]) > 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", PLAIN)
def test_a_merged_model_transcribes(recipe_dir, tmp_path, variant, dtype):
    call = ["--model", str(recipe_dir / "exp" / f"sft_{variant}"), "--format", "merged", "--lang", "de"]
    assert export.main([*call, "--dtype", dtype, "--out", str(tmp_path / "merged")]) == 0
    utterance = dataclasses.replace(tiny.example("u", "de", 12_000, "", seed=3), transcript=[])
    for precision in (torch.float32, torch.bfloat16):
        model = load_merged(tmp_path / "merged", precision)
        assert {parameter.dtype for parameter in model.parameters()} == {precision}
        (decoded,) = Decoder(model, tiny.llm_tokenizer(), DecodeConfig(tokens_per_s=2.0), None).run([[utterance]])
        assert decoded.text
