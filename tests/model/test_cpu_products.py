"""Products in float32 for CPUs without half-precision kernels: same results, in training and evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.lora import VARIANTS
from zipperasr.model import cpu_products
from zipperasr.model.cpu_products import HALVES, Float32Products, fast_products

NOT_PRODUCTS = ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward")


class MatrixOperations(TorchDispatchMode):
    """Collects the names of all products that are computed in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        multiplies = any(part in name for part in ("mm", "conv", "matmul", "linear", "dot", "einsum"))
        if multiplies and any(isinstance(x, Tensor) and x.dtype in HALVES for x in args):
            self.halves.add(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    directory = tmp_path_factory.mktemp("backbones")
    tiny.write_backbones(directory)
    return directory


def learn(model) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients on two packs."""
    model.zero_grad()
    loss, _, _ = model(collate(tiny.two_packs()), 40)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("precision", HALVES)
def test_a_product_is_that_of_float32_rounded_once(precision):
    left, right = torch.randn(5, 300).to(precision), torch.randn(300, 7).to(precision)
    with Float32Products():
        product = left @ right
    assert torch.equal(product, (left.float() @ right.float()).to(precision))


@pytest.mark.parametrize("precision", HALVES)
def test_gradients_of_a_layer_and_a_convolution_are_those_of_float32_rounded_once(precision):
    values = [torch.randn(size).to(precision) for size in ((9, 6), (4, 6), (4,), (2, 3, 8), (5, 3, 3))]

    def gradients(inputs: list[Tensor]) -> list[Tensor]:
        inputs = [value.requires_grad_() for value in inputs]
        torch.autograd.backward([functional.linear(*inputs[:3]).sum(), functional.conv1d(*inputs[3:]).sum()])
        return [value.grad for value in inputs]

    with Float32Products():
        ours = gradients([value.clone() for value in values])
    for gradient, exact in zip(ours, gradients([value.float() for value in values]), strict=True):
        assert gradient.dtype == precision
        torch.testing.assert_close(gradient.float(), exact, rtol=torch.finfo(precision).eps, atol=0)


@pytest.mark.parametrize("precision", HALVES)
def test_products_in_inference_mode_are_those_of_float32_rounded_once(precision):
    with torch.inference_mode():
        x, weight, bias, kernel = (torch.randn(size).to(precision) for size in ((2, 9, 6), (4, 6), (4,), (3, 9, 3)))
        with MatrixOperations() as seen, Float32Products():
            ours = [functional.linear(x, weight, bias), x @ weight.T, functional.conv1d(x, kernel)]
        exact = [
            functional.linear(x.float(), weight.float(), bias.float()),
            x.float() @ weight.T.float(),
            functional.conv1d(x.float(), kernel.float()),
        ]
    assert not seen.halves
    for product, wanted in zip(ours, exact, strict=True):
        assert torch.equal(product, wanted.to(precision))


def test_the_layers_of_a_token_are_left_alone():
    with torch.inference_mode():
        x, weight = torch.randn(2, 6).bfloat16(), torch.randn(4, 6).bfloat16()
        with MatrixOperations() as seen, Float32Products():
            functional.linear(x, weight)
    assert seen.halves == {"linear"}


def test_float32_is_left_alone():
    left, right = torch.randn(5, 300), torch.randn(300, 7)
    with Float32Products():
        assert torch.equal(left @ right, left @ right)


@pytest.mark.parametrize("lora", [None, *VARIANTS])
def test_a_bfloat16_step_computes_no_product_in_bfloat16_and_learns_the_same(backbones, lora):
    config = tiny.model_config(backbones)
    model = (tiny.sft_model(config, lora) if lora else tiny.align_model(config)).bfloat16()
    loss, gradients = learn(model)
    with MatrixOperations() as seen, Float32Products():
        ours, our_gradients = learn(model)
    assert seen.halves <= set(NOT_PRODUCTS)
    torch.testing.assert_close(ours, loss, rtol=5e-3, atol=0)
    for name, gradient in gradients.items():
        assert (our_gradients[name] - gradient).norm() <= 0.1 * gradient.norm(), name


@pytest.mark.parametrize(
    ("precision", "has_kernel", "replaced"),
    [(torch.bfloat16, False, True), (torch.bfloat16, True, False), (torch.float32, False, False)],
)
def test_products_are_replaced_only_where_they_are_slow(monkeypatch, precision, has_kernel, replaced):
    monkeypatch.setattr(cpu_products, "has_kernel", lambda _: has_kernel)
    assert isinstance(fast_products(precision), Float32Products) == replaced
