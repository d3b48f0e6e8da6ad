"""The simulated GPU itself: the errors it raises, the waits it records, and its attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from tests.simulated_gpu import guard
from tests.simulated_gpu.install import simulated_gpu
from zipperasr.train.optim import _are_finite


@pytest.fixture
def ones(gpu) -> torch.Tensor:
    return torch.ones(3, device="cuda")


MIXED = {
    "add": lambda x: x + torch.ones(3),
    "add in place": lambda x: x.add_(torch.ones(3)),
    "add to the CPU's": lambda x: torch.ones(3).add_(x),
    "a scalar of the device and a tensor of the CPU": lambda x: torch.ones(3) * x.sum(),
    "product": lambda x: x @ torch.ones(3),
    "cat": lambda x: torch.cat([x, torch.ones(1)]),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "index the CPU's": lambda x: torch.ones(3)[x.long()],
    "embedding": lambda x: functional.embedding(torch.tensor([0]), x[:, None]),
    "where": lambda x: torch.where(x > 0, x, torch.ones(3)),
}


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
def test_mixing_devices_is_an_error(ones, mixed):
    with pytest.raises(RuntimeError, match=r"same device|indices should be"):
        mixed(ones)


ALLOWED = {
    "a scalar on the CPU": lambda x: x * torch.tensor(2.0) - torch.tensor(1.0),
    "a scalar first": lambda x: torch.tensor(2.0) * x - torch.tensor(1.0),
    "fill": lambda x: torch.empty_like(x).fill_(torch.tensor(1.0)),
    "a Python number": lambda x: x.masked_fill(x < 0, 7.0),
    "indices on the device": lambda x: x[torch.zeros(3, dtype=torch.long, device="cuda")],
    "slices": lambda x: torch.cat([x[:1], x[1:]]),
    "pinned": lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "a view of what is pinned": lambda x: torch.ones(4).pin_memory()[1:].to("cuda", non_blocking=True),
    "repeats of a known sum": lambda x: x[:2].repeat_interleave(torch.full_like(x[:2], 2).long(), output_size=4)[1:],
}


@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=ALLOWED)
def test_operations_for_which_the_host_does_not_wait(gpu, ones, allowed):
    gpu.waits.clear()
    result = allowed(ones)
    assert gpu.waits == []
    assert result.is_cuda and result.tolist() == [1.0, 1.0, 1.0]


WAITING = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).all()),
    "float": lambda x: float(x[0]),
    "tolist": lambda x: x.tolist(),
    "to the host": lambda x: x.cpu(),
    "into pageable memory": lambda x: torch.empty(3).copy_(x, non_blocking=True),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "assigning by a mask": lambda x: x.__setitem__(x > 0, 1.0),
    "a list as an index": lambda x: x[[0, 1]],
    "assigning by a list": lambda x: x.__setitem__([0, 1], 1.0),
    "an index on the CPU": lambda x: x[torch.tensor([0, 1])],
    "from pageable memory": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "from pinned memory, blocking": lambda x: torch.ones(3).pin_memory().to("cuda"),
    "from a list": lambda x: torch.tensor([1, 2], device="cuda"),
    "repeats of an unknown sum": lambda x: x.repeat_interleave(x.long()),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("waiting", WAITING.values(), ids=WAITING)
def test_operations_for_which_the_host_waits_are_recorded(gpu, ones, waiting):
    gpu.waits.clear()
    waiting(ones)
    assert gpu.waits


def test_a_wait_records_the_line_that_caused_it(gpu, ones):
    gpu.waits.clear()
    assert _are_finite([ones, ones])
    assert [wait.place.split()[-1] for wait in gpu.waits] == ["_are_finite"]
    assert gpu.waits[0].place.startswith("train/optim.py:")


def test_tied_parameters_stay_tied(gpu):
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    other.weight = one.weight
    both = torch.nn.Sequential(one, other).to("cuda")
    assert both[0].weight.is_cuda and both[0].weight is both[1].weight


def test_leaving_the_context_restores_torch():
    if reason := guard.why_unavailable():
        pytest.skip(reason)
    before = {name: getattr(torch.cuda, name) for name in ("_lazy_init", "is_available", "Stream")}
    with simulated_gpu():
        assert torch.cuda.is_available() and torch.accelerator.current_accelerator().type == "cuda"
    assert {name: getattr(torch.cuda, name) for name in before} == before
    assert torch.accelerator.current_accelerator() is None
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        assert (x + 1).is_inference()
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    with pytest.raises(AssertionError, match="CUDA"):
        torch.ones(1, device="cuda")


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0)], ids=["full", "causal"])
def test_attention_over_different_lengths_equals_attention_per_sequence(gpu, window):
    """Forward and backward, against torch's attention on each sequence in float32."""
    lengths = [3, 1, 5]
    inputs = [torch.randn(9, 2, 8).bfloat16() for _ in range(3)]
    upstream = torch.randn(9, 2, 8).bfloat16()
    exact = [tensor.float().requires_grad_() for tensor in inputs]
    parts = [
        functional.scaled_dot_product_attention(
            *(tensor.transpose(0, 1) for tensor in sequence), scale=0.3, is_causal=window == (-1, 0)
        ).transpose(0, 1)
        for sequence in zip(*(tensor.split(lengths) for tensor in exact), strict=True)
    ]
    wanted = torch.cat(parts)
    wanted.backward(upstream.float())

    on_gpu = [tensor.to("cuda").requires_grad_() for tensor in inputs]
    starts = torch.tensor([0, 3, 4, 9], dtype=torch.int32, device="cuda")
    found = varlen_attn(*on_gpu, starts, starts, 5, 5, scale=0.3, window_size=window)
    found.backward(upstream.to("cuda"))
    torch.testing.assert_close(found.detach().cpu().float(), wanted.detach(), rtol=0.02, atol=0.02)
    for one, want in zip(on_gpu, exact, strict=True):
        torch.testing.assert_close(one.grad.cpu().float(), want.grad, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("dtype", "starts", "reason"),
    [
        (torch.float32, [0, 4], "fp16 and bf16"),
        (torch.bfloat16, [0, 3], "do not describe 4 rows"),
    ],
)
def test_attention_has_flash_attentions_requirements(gpu, dtype, starts, reason):
    query = torch.ones(4, 2, 8, dtype=dtype, device="cuda")
    offsets = torch.tensor(starts, dtype=torch.int32, device="cuda")
    with pytest.raises(RuntimeError, match=reason):
        varlen_attn(query, query, query, offsets, offsets, 4, 4)
