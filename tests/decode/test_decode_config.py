"""DecodeConfig rejects invalid values."""

from __future__ import annotations

import math

import pytest

from zipperasr.decode.decode_config import DecodeConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "beam: got 0, wanted at least 1"),
        ({"beam": -1}, "beam: got -1, wanted at least 1"),
        ({"precision": "fp8"}, "precision: unknown value 'fp8'; .*choose from fp32, bf16"),
        ({"quantize": "int4"}, "quantize: unknown value 'int4'; .*choose from none, int8"),
        ({"quantize": "int8", "beam": 4}, "quantize: int8 is for our greedy search; set beam=1 or quantize=none"),
        ({"cuda_graphs": True, "beam": 4}, "cuda_graphs: true is for our greedy search; set beam=1 or cuda_graphs="),
        ({"quantize": "int8", "engine": "vllm"}, "quantize: int8 is for our greedy search; set engine=own or"),
        ({"batch_size": 0}, "batch_size: got 0, wanted at least 1"),
        ({"batch_positions": 0}, "batch_positions: got 0, wanted at least 1"),
        ({"tokens_per_s": -5.0}, "tokens_per_s: got -5.0, wanted at least 0"),
        ({"tokens_per_s": math.inf}, "tokens_per_s: got inf, wanted at least 0 and finite"),
        ({"tokens_floor": -1}, "tokens_floor: got -1, wanted at least 0"),
        ({"length_penalty": math.nan}, "length_penalty: got nan, wanted a finite number"),
        ({"nbest": 0, "beam": 2}, "nbest: got 0, wanted at least 1"),
        ({"nbest": 4}, "nbest: got 4, wanted at most beam, 1; set beam=4"),
        ({"nbest": 4, "beam": 3}, "nbest: got 4, wanted at most beam, 3; set beam=4"),
    ],
)
def test_a_wrong_value_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**settings)
