"""Components of greedy search."""

from __future__ import annotations

import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from zipperasr.decode.greedy import repeating


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_banned_n_gram_tokens_equal_those_of_transformers(size):
    generator = torch.Generator().manual_seed(size)
    found = []
    for length in range(1, 24):
        tokens = torch.randint(0, 2, (1, length), generator=generator)
        banned = NoRepeatNGramLogitsProcessor(size)(tokens, torch.zeros(1, 2))[0].isinf().nonzero().flatten().tolist()
        found.append(sorted(set(repeating(tokens[0].tolist(), size))))
        assert found[-1] == banned
    assert any(found)
