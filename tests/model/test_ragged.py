"""Attention over concatenated sequences equals attention over each of them alone."""

from __future__ import annotations

import pytest
import torch

from zipperasr.model import ragged

LENGTHS = pytest.mark.parametrize("lengths", [(5, 1, 9, 9, 3, 9), (4, 4, 4), (7,)], ids=["unequal", "equal", "one"])
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
HEADS, HEAD_DIM, SCALE = 4, 8, 0.3


def dense_attention(query, key, value, causal):
    """softmax(scale q k') v of one sequence, in a loop over heads: (length, heads, head_dim)."""
    mixed = torch.empty_like(query)
    for head in range(query.shape[1]):
        shared = head * key.shape[1] // query.shape[1]
        scores = SCALE * query[:, head] @ key[:, shared].T
        if causal:
            later = torch.arange(len(query))[:, None] < torch.arange(len(query))
            scores = scores.masked_fill(later, -torch.inf)
        mixed[:, head] = scores.softmax(-1) @ value[:, shared]
    return mixed


def heads(lengths, key_heads, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(sum(lengths), count, HEAD_DIM, dtype=dtype, generator=generator).to(device).requires_grad_()
        for count in (HEADS, key_heads, key_heads)
    ]


@LENGTHS
@CAUSAL
@pytest.mark.parametrize("key_heads", [HEADS, 2])
def test_attention_and_its_gradient_equal_those_of_each_sequence_alone(lengths, causal, key_heads):
    tensors = heads(lengths, key_heads)
    mixed = ragged.self_attention(*tensors, ragged.Layout(lengths, torch.device("cpu")), SCALE, causal)
    parts = zip(*(tensor.split(lengths) for tensor in tensors), strict=True)
    expected = torch.cat([dense_attention(*part, causal) for part in parts])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(mixed)
    for mine, right in zip(*(torch.autograd.grad(x, tensors, upstream) for x in (mixed, expected)), strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-12)


@LENGTHS
@CAUSAL
def test_autocast_on_a_cpu_computes_the_same(lengths, causal):
    tensors = heads(lengths, HEADS, torch.float32)
    layout = ragged.Layout(lengths, torch.device("cpu"))
    exact = ragged.self_attention(*tensors, layout, SCALE, causal)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = ragged.self_attention(*tensors, layout, SCALE, causal)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@LENGTHS
@CAUSAL
@pytest.mark.parametrize("key_heads", [HEADS, 2])
def test_the_gpu_pads_nothing_and_computes_the_same(lengths, causal, key_heads):
    device = torch.device("cuda")
    tensors = heads(lengths, key_heads, torch.float32, device)
    layout = ragged.Layout(lengths, device)
    exact = ragged.self_attention(*tensors, layout, SCALE, causal)
    rounded = ragged.self_attention(*(tensor.bfloat16() for tensor in tensors), layout, SCALE, causal)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)
    upstream = torch.randn_like(exact)
    for mine, right in zip(*(torch.autograd.grad(x, tensors, upstream.to(x)) for x in (rounded, exact)), strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=0.1)


def test_a_layout_has_the_position_of_each_sequence():
    layout = ragged.Layout((3, 1, 2), torch.device("cpu"))
    assert layout.offsets.tolist() == [0, 3, 4, 6]
    assert layout.offsets.dtype == torch.int32
    assert ragged.positions((3, 1, 2), torch.device("cpu")).tolist() == [0, 1, 2, 0, 0, 1]


def test_only_neighbours_of_equal_length_are_one_run():
    layout = ragged.Layout((100, 100, 46, 100, 7, 7, 7), torch.device("cpu"))
    assert layout.runs == [(2, 100), (1, 46), (1, 100), (3, 7)]
