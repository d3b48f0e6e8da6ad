"""Attention and loss of an LLM over packed utterances: no padding, no mask, and logits of the labels only.

In: a transformers LLM, its hidden states. Out: the summed cross-entropy. transformers calls the attention registered
here by name. Without a `Layout`, as in `generate`, it is transformers' own attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from zipperasr.model import ragged

RAGGED = "zipperasr_ragged"
LABELS_AT_ONCE = 512  # labels whose logits are in memory together: 0.3 GB in float32 with 152,000 tokens


def use_ragged_attention(llm: PreTrainedModel) -> None:
    """Make every layer of `llm` accept a `ragged.Layout`, as the argument `layout` of its forward."""
    AttentionInterface.register(RAGGED, _attention)
    AttentionMaskInterface.register(RAGGED, sdpa_mask)
    llm.set_attn_implementation(RAGGED)


def label_loss(hidden: Tensor, lm_head: nn.Linear, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of lm_head(hidden) summed over the labels, in at least float32, and the number of correct labels.

    hidden: (labels, width), targets: (labels,). Only `LABELS_AT_ONCE` rows of logits are in memory at once, because
    the gradient of `hidden` is computed together with them. Raises ValueError if lm_head is trained: it gets no
    gradient.
    """
    if lm_head.weight.requires_grad or lm_head.bias is not None:
        raise ValueError("got an lm_head that is trained or has a bias; wanted a frozen one without bias")
    return _LabelLoss.apply(hidden, lm_head.weight, targets)


class _LabelLoss(torch.autograd.Function):
    """The loss is a plain sum, so the forward pass can compute its gradient up to the upstream factor."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        loss = hidden.new_zeros((), dtype=exact)
        correct = targets.new_zeros(())
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), LABELS_AT_ONCE):
            part = slice(start, start + LABELS_AT_ONCE)
            logits = (hidden[part] @ weight.T).to(exact)
            wanted = targets[part, None]
            correct += (logits.argmax(-1) == wanted[:, 0]).sum()
            log_p = logits.log_softmax(-1)
            loss -= log_p.gather(1, wanted).sum()
            if gradient is not None:
                difference = log_p.exp_()
                difference.scatter_add_(1, wanted, difference.new_full(wanted.shape, -1.0))
                gradient[part] = difference.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx, upstream: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None


def _attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask, **options):
    """transformers' attention interface: (1, heads, positions, head_dim) -> (1, positions, heads, head_dim), None."""
    layout: ragged.Layout | None = options.pop("layout", None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    flat = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    window = options.get("sliding_window")
    return ragged.self_attention(*flat, layout, options["scaling"], causal=True, window=window)[None], None
