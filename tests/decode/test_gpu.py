"""Decoding on a GPU, where the encoder uses its own stream, gives the same hypotheses as on a CPU."""

from __future__ import annotations

import pytest
import torch

from tests.model import tiny
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_hypotheses_equal_those_of_the_cpu(backbones):
    model = tiny.sft_model(tiny.model_config(backbones))
    lengths = [3200 + (number * 7919) % 37_000 for number in range(12)]
    utterances = [tiny.example(f"u{n}", tiny.CODES[n % 3], length, "", seed=n) for n, length in enumerate(lengths)]
    config = DecodeConfig(tokens_per_s=20.0, tokens_floor=8, batch_size=5)
    found = {}
    for device in ("cpu", "cuda"):
        decoder = Decoder(model.to(device), tiny.llm_tokenizer(), config, 40)
        texts = decoder.run([[one] for one in utterances[:6]] + [utterances[6:]])
        found[device] = {decoded.example.utt_id: decoded.text for decoded in texts}
    assert found["cuda"] == found["cpu"]
