"""Every variant decodes in float32 and bfloat16, with greedy and beam search, in one language and in several."""

from __future__ import annotations

import pytest
import torch

from tests.model import tiny
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.hooks import Hooks
from zipperasr.lora import VARIANTS

CHUNK_FRAMES = {"chunked": 40, "full": None}
MIXTURE = {"de": 0.7, "es": 0.2, "ja": 0.1}


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def variant(request):
    return request.param


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def model(backbones, variant, request):
    model = tiny.sft_model(tiny.model_config(backbones), variant)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(request.param)
    return model


def decode(model, utterances, beam: int, chunk_frames: int | None, mixture=None) -> dict[str, str]:
    config = DecodeConfig(beam=beam, tokens_per_s=5.0, tokens_floor=4)
    decoder = Decoder(model, tiny.llm_tokenizer(), config, chunk_frames)
    german = [utterance for utterance in utterances if utterance.language == "de"]
    batches = [utterances, german] if mixture is None else [german]
    found = list(decoder.run(batches, Hooks(mixture=lambda _: mixture)))
    assert len(found) == sum(map(len, batches))
    return {decoded.example.utt_id: decoded.text for decoded in found}


@pytest.mark.parametrize(("beam", "regime"), [(1, "chunked"), (1, "full"), (3, "chunked")])
def test_every_variant_gives_hypotheses(model, utterances, beam, regime):
    found = decode(model, utterances[:4], beam, CHUNK_FRAMES[regime])
    assert set(found) == {utterance.utt_id for utterance in utterances[:4]}
    assert any(found.values())


def test_every_variant_decodes_a_mixture_of_languages(model, utterances):
    assert any(decode(model, utterances[:4], 1, CHUNK_FRAMES["chunked"], MIXTURE).values())


@torch.no_grad()
def test_encoder_outputs_are_close_to_float32(backbones, variant, model):
    exact = tiny.sft_model(tiny.model_config(backbones), variant)
    outputs = []
    for one in (exact, model):
        one.adapters.set_batch(["es"], [1])
        outputs.append(one.encoder(tiny.random_mel(90), [40, 50])[0].float())
    assert (outputs[1] - outputs[0]).norm() < 0.05 * outputs[0].norm()
