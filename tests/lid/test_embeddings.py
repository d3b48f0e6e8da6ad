"""Stage 4: both kinds of LID embeddings, their files and errors."""

from __future__ import annotations

import json
import pickle
import shutil

import kaldiio
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, WhisperModel

from tests.audio.test_ark import Touch
from tests.model import tiny
from tests.train.tiny_recipe import options, write_lines
from zipperasr.audio.log_mel import log_mel
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import cosine_matrix, language_token_ids
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones.whisper import WHISPER_SIZES, WhisperSpeechEncoder
from zipperasr.model.backbones.whisper_languages import WhisperLanguages
from zipperasr.stages.language_embeddings import main

CODES = ["de", "es", "ja"]


@pytest.fixture(scope="module")
def whisper_path(noise_recipe):
    return str(noise_recipe / "exp" / "backbones" / "whisper")


@pytest.fixture(scope="module")
def whisper(whisper_path):
    return WhisperModel.from_pretrained(whisper_path).eval()


@pytest.fixture
def with_language(noise_recipe, tmp_path):
    """Write the recipe's language table with an additional line; returns its path."""

    def add(code: str, token: str):
        lines = (noise_recipe / "conf" / "languages.tsv").read_text().splitlines()
        write_lines(tmp_path / "languages.tsv", *lines, f"{code}\t{token}\t{code}\twer\twhisper\tx")
        return tmp_path / "languages.tsv"

    return add


def run(base, *more: str) -> int:
    return main([*options(base, manifest="dump/manifest", out="exp/lid"), *more])


def test_token_embeddings_are_rows_of_the_decoders_embedding(noise_recipe, whisper, whisper_path):
    tokenizer = AutoTokenizer.from_pretrained(whisper_path)
    rows = [whisper.decoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids(f"<|{code}|>")] for code in CODES]
    table = LanguageTable.load(noise_recipe / "conf" / "languages.tsv")
    found = WhisperLanguages.token_embeddings(whisper_path, language_token_ids(whisper_path, table))
    assert torch.equal(found, torch.stack(rows))
    assert torch.equal(load_embeddings(noise_recipe / "exp" / "lid", "token", CODES), found)


def test_a_language_without_a_token_uses_its_proxy_token(with_language, whisper_path):
    ids = language_token_ids(whisper_path, LanguageTable.load(with_language("gsw", "de")))
    assert ids[-1] == ids[0]


def test_an_empty_unknown_token_does_not_make_transformers_recurse(with_language, whisper_path, tmp_path):
    broken = shutil.copytree(whisper_path, tmp_path / "whisper")
    config = json.loads((broken / "tokenizer_config.json").read_text())
    (broken / "tokenizer_config.json").write_text(json.dumps({**config, "unk_token": ""}))
    table = LanguageTable.load(with_language("xx", "xx"))
    with pytest.raises(ValueError, match=r"languages\.tsv: xx: .* has no token <\|xx\|>; use the token of a related"):
        language_token_ids(str(broken), table)


@torch.no_grad()
def test_state_embedding_is_the_decoder_state_at_the_language_token(whisper):
    """transformers' own forward pass requires exactly 30 s."""
    mel, token_id = tiny.random_mel(3000), 7
    start = whisper.config.decoder_start_token_id
    expected = whisper(mel.T[None], decoder_input_ids=torch.tensor([[start, token_id]])).last_hidden_state[0, -1]
    torch.testing.assert_close(WhisperLanguages(whisper).state_embedding(token_id, [mel]), expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_state_embedding_is_the_mean_over_single_utterances(whisper):
    mels = [log_mel(tiny.noise(samples, seed=samples), tiny.MEL_BINS) for samples in (8000, 21_111)]
    alone = [WhisperLanguages(whisper).state_embedding(7, [mel]) for mel in mels]
    torch.testing.assert_close(WhisperLanguages(whisper).state_embedding(7, mels), (alone[0] + alone[1]) / 2)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@torch.no_grad()
def test_state_embedding_uses_the_first_30_s_of_longer_audio(whisper):
    mel = tiny.random_mel(3100)
    assert torch.equal(
        WhisperLanguages(whisper).state_embedding(7, [mel]), WhisperLanguages(whisper).state_embedding(7, [mel[:3000]])
    )


@torch.no_grad()
def test_utterances_encoded_together_give_the_same_state(whisper):
    mels = [log_mel(tiny.noise(samples, seed=samples), tiny.MEL_BINS) for samples in (8000, 21_111, 9000, 8000, 500)]
    together = WhisperLanguages(whisper).state_embedding(7, mels, batch_size=3)
    torch.testing.assert_close(together, WhisperLanguages(whisper).state_embedding(7, mels), rtol=0, atol=1e-5)


def test_state_embedding_is_computed_on_the_device_of_the_model(whisper_path):
    """The meta device stands in for a GPU: it cannot be mixed with CPU tensors."""
    whisper = WhisperModel.from_pretrained(whisper_path).eval().to("meta")
    asked = []

    def record(module, arguments, keywords):
        asked.append(keywords["encoder_hidden_states"].shape[:2])
        assert {keywords[name].device.type for name in ("input_ids", "encoder_hidden_states")} == {"meta"}

    whisper.decoder.register_forward_pre_hook(record, with_kwargs=True)
    with pytest.raises(
        NotImplementedError, match="Cannot copy out of meta tensor"
    ):  # when copying the result to the CPU
        WhisperLanguages(whisper).state_embedding(7, [tiny.random_mel(frames) for frames in (30, 41, 30)])
    assert asked == [(1, 15), (1, 21), (1, 15)]


def test_embeddings_of_the_shipped_whisper_are_unchanged(root):
    """They are bit-identical to those of the published mini results."""
    whisper = str(root / "egs2" / "zipper12" / "asr1" / "local" / "mini" / "weights" / "whisper")
    model = load_backbone(WhisperModel, whisper, torch.float32, WHISPER_SIZES).eval()
    mels = [log_mel(tiny.noise(samples, seed=samples), 80) for samples in (32_000, 48_111, 70_000, 96_000)]
    ids, encoder, states = [5, 9, 100], WhisperSpeechEncoder(model.encoder).eval(), []
    assert torch.equal(WhisperLanguages.token_embeddings(whisper, ids), model.decoder.embed_tokens.weight[ids])
    with torch.no_grad():
        for mel in mels:
            hidden, _ = encoder(mel, [len(mel)])
            prefix = torch.tensor([[model.config.decoder_start_token_id, 100]])
            states.append(model.decoder(input_ids=prefix, encoder_hidden_states=hidden[None]).last_hidden_state[0, -1])
    assert torch.equal(WhisperLanguages(model).state_embedding(100, mels), torch.stack(states).mean(0))


def test_token_embeddings_need_no_speech_and_no_other_weights(noise_recipe, whisper_path, tmp_path):
    shutil.copytree(whisper_path, tmp_path / "whisper")
    weights = tmp_path / "whisper" / "model.safetensors"
    embedding = {name: tensor for name, tensor in load_file(weights).items() if "embed_tokens" in name}
    save_file(embedding, weights, metadata={"format": "pt"})
    settings = yaml.safe_load((noise_recipe / "conf" / "model.yaml").read_text())
    write_lines(tmp_path / "model.yaml", yaml.safe_dump({**settings, "whisper": str(tmp_path / "whisper")}))
    out = str(tmp_path / "lid")
    options = ["--model", str(tmp_path / "model.yaml"), "--out", out, "--manifest", str(tmp_path / "none")]
    assert run(noise_recipe, *options, "--modes", "token") == 0
    expected = load_embeddings(noise_recipe / "exp" / "lid", "token", CODES)
    assert torch.equal(load_embeddings(out, "token", CODES), expected)
    with pytest.raises(FileNotFoundError, match="no LID embeddings; run stage 4"):
        load_embeddings(out, "state", CODES)


def test_whisper_weights_that_do_not_fit_are_an_error(noise_recipe, whisper_path, tmp_path, capsys):
    shutil.copytree(whisper_path, tmp_path / "whisper")
    weights = tmp_path / "whisper" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.decoder.layers.0.fc1.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    settings = yaml.safe_load((noise_recipe / "conf" / "model.yaml").read_text())
    write_lines(tmp_path / "model.yaml", yaml.safe_dump({**settings, "whisper": str(tmp_path / "whisper")}))
    assert run(noise_recipe, "--model", str(tmp_path / "model.yaml"), "--out", str(tmp_path / "lid")) == 1
    assert "do not fit WhisperModel: missing decoder.layers.0.fc1.weight" in capsys.readouterr().err


def test_a_token_that_whisper_lacks_is_an_error(with_language, whisper_path):
    table = LanguageTable.load(with_language("gsw", "gsw"))
    with pytest.raises(ValueError, match=r"gsw: .*whisper has no token <\|gsw\|>; use the token of a related language"):
        language_token_ids(whisper_path, table)


def test_cosines_of_known_vectors():
    cosines = cosine_matrix(torch.tensor([[1.0, 0.0], [3.0, 3.0], [0.0, -2.0]]))
    half = 2**-0.5
    expected = torch.tensor([[1, half, 0], [half, 1, -half], [0, -half, 1]], dtype=torch.float64)
    torch.testing.assert_close(cosines, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("mode", ["token", "state"])
def test_ark_and_scp_round_trip_by_code(noise_recipe, mode):
    directory = noise_recipe / "exp" / "lid"
    ark = dict(kaldiio.load_ark(str(directory / f"lid_{mode}.ark")))
    assert list(ark) == CODES
    backwards = load_embeddings(directory, mode, CODES[::-1])
    assert backwards.shape == (3, tiny.D_ENCODER)
    for code, vector in zip(CODES[::-1], backwards, strict=True):
        assert torch.equal(vector, torch.tensor(ark[code]))


@pytest.mark.parametrize("mode", ["token", "state"])
def test_the_table_of_cosines_names_its_languages(noise_recipe, mode):
    directory = noise_recipe / "exp" / "lid"
    header, *rows = [line.split("\t") for line in (directory / f"cosine_{mode}.tsv").read_text().splitlines()]
    assert header == ["", *CODES]
    assert [row[0] for row in rows] == CODES
    table = torch.tensor([[float(cell) for cell in row[1:]] for row in rows], dtype=torch.float64)
    expected = cosine_matrix(load_embeddings(directory, mode, CODES))
    torch.testing.assert_close(table, expected, rtol=0, atol=1e-6)


def test_missing_embeddings_and_languages_name_the_stage(noise_recipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lid_token\.scp: no LID embeddings; run stage 4"):
        load_embeddings(tmp_path, "token", CODES)
    with pytest.raises(ValueError, match=r"no embedding for ko, pt; rerun stage 4 with this language table"):
        load_embeddings(noise_recipe / "exp" / "lid", "token", [*CODES, "ko", "pt"])


@pytest.mark.parametrize("entry", ["{}/evil.ark:3", "touch {}/run |"])
def test_foreign_embeddings_execute_nothing(tmp_path, entry):
    (tmp_path / "evil.ark").write_bytes(b"de PKL" + pickle.dumps(Touch(tmp_path / "run")))
    write_lines(tmp_path / "lid_token.scp", f"de {entry.format(tmp_path)}")
    with pytest.raises(
        ValueError, match=r"lid_token\.scp: de: .*(wanted a binary float vector|is a command; commands)"
    ):
        load_embeddings(tmp_path, "token", ["de"])
    assert not (tmp_path / "run").exists()


def test_embeddings_of_unequal_length_are_an_error(tmp_path):
    vectors = {"de": np.zeros(3, np.float32), "es": np.zeros(4, np.float32)}
    kaldiio.save_ark(str(tmp_path / "x.ark"), vectors, scp=str(tmp_path / "lid_token.scp"))
    with pytest.raises(ValueError, match=r"lid_token\.scp: embeddings have unequal widths \[3, 4\]; rerun stage 4"):
        load_embeddings(tmp_path, "token", ["de", "es"])


def test_a_second_run_is_skipped(noise_recipe, capsys):
    assert run(noise_recipe) == 0
    assert "is up to date" in capsys.readouterr().err


def test_a_language_without_training_data_uses_its_token_embedding(noise_recipe, with_language, tmp_path, capsys):
    table = with_language("ko", "ko")
    assert run(noise_recipe, "--languages", str(table), "--out", str(tmp_path / "lid")) == 0
    err = capsys.readouterr().err
    assert "ko: no training utterances; using its token embedding instead of a state" in err
    assert "cos(ja, ko) = " in err
    token, state = (load_embeddings(tmp_path / "lid", mode, [*CODES, "ko"]) for mode in ("token", "state"))
    assert torch.equal(token[3], state[3])
    assert not torch.equal(token[0], state[0])


def test_missing_manifests_and_model_name_the_stage(noise_recipe, tmp_path, capsys):
    assert run(noise_recipe, "--manifest", str(tmp_path / "manifest"), "--out", str(tmp_path / "lid")) == 1
    assert "run stage 3 first" in capsys.readouterr().err.splitlines()[-1]
    write_lines(tmp_path / "model.yaml", "whisper: exp/none/whisper", "llm: x", "mel_bins: 8")
    assert run(noise_recipe, "--model", str(tmp_path / "model.yaml"), "--out", str(tmp_path / "lid")) == 1
    assert "no model found (config.json is missing); run stage 0" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "lid").exists()


def test_a_second_run_fails_before_it_writes(noise_recipe, tmp_path, capsys, held_elsewhere):
    message = held_elsewhere(tmp_path / "lid")
    assert main(options(noise_recipe, manifest="dump/manifest", out=tmp_path / "lid")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lid").exists()
