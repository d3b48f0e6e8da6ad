"""torch's attention over sequences of different lengths (varlen_attn), computed densely, forward and backward.

In: the arguments of torch's operators, all on the CPU. Out: FlashAttention's results, from float32 products.
"""

from __future__ import annotations

import torch
import torch.nn.attention.varlen
from torch import Tensor


def forward(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, starts_k: Tensor, *settings):
    """query, key, value: (rows, heads, head_dim); starts: (sequences + 1,) offsets of the sequences.

    Returns the output, the scores' log-sum-exp (heads, rows) and the random number state, which is unused.
    """
    longest, _, is_causal, scale, window, *_ = settings
    _check(query, starts, starts_k, longest)
    scores = _scores(query, key, starts, scale, is_causal or window == [-1, 0])
    output = scores.softmax(-1) @ _by_head(value)
    return output.transpose(0, 1).to(query.dtype), scores.logsumexp(-1), torch.zeros(2, dtype=torch.uint64)


def backward(upstream: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, *settings):
    """The gradients of query, key and value, of upstream (rows, heads, head_dim).

    With P = softmax(S) and O = P V: dV = P' dO, dP = dO V', dS = P (dP - rowsum(dO O)), dQ = dS K, dK = dS' Q.
    """
    starts, _, _, _, is_causal, _, scale, window = settings
    scores = _scores(query, key, starts, scale, is_causal or window == [-1, 0])
    weights = (scores - lse[..., None]).exp()
    upstream, output = _by_head(upstream), _by_head(output)
    d_weights = upstream @ _by_head(value).transpose(-1, -2)
    d_scores = weights * (d_weights - (upstream * output).sum(-1, keepdim=True)) * scale
    d_query, d_key = d_scores @ _by_head(key), d_scores.transpose(-1, -2) @ _by_head(query)
    gradients = (d_query, d_key, weights.transpose(-1, -2) @ upstream)
    return tuple(gradient.transpose(0, 1).to(query.dtype) for gradient in gradients)


def _scores(query: Tensor, key: Tensor, starts: Tensor, scale: float, is_causal: bool) -> Tensor:
    """Scores of all pairs of rows, (heads, rows, rows) in float32; -inf between different sequences."""
    rows = torch.arange(len(query))
    sequence = torch.bucketize(rows, starts[1:].long(), right=True)
    sees = sequence[:, None] == sequence
    if is_causal:
        sees = sees & (rows[:, None] >= rows)
    return (_by_head(query) @ _by_head(key).transpose(-1, -2) * scale).masked_fill(~sees, -torch.inf)


def _by_head(rows: Tensor) -> Tensor:
    """(rows, heads, head_dim) -> (heads, rows, head_dim), in float32."""
    return rows.transpose(0, 1).float()


def _check(query: Tensor, starts: Tensor, starts_k: Tensor, longest: int) -> None:
    """Check FlashAttention's requirements. Raises RuntimeError."""
    if torch.cuda.get_device_capability() < (8, 0):
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")
    if query.dtype not in (torch.bfloat16, torch.float16):
        raise RuntimeError(f"FlashAttention only supports fp16 and bf16 data type, got {query.dtype}")
    if starts.dtype != torch.int32 or starts_k.dtype != torch.int32:
        raise RuntimeError(f"cu_seqlens must have dtype int32, got {starts.dtype} and {starts_k.dtype}")
    if query.shape[-1] % 8 or query.shape[-1] > 256:
        raise RuntimeError(f"head_dim must be a multiple of 8 and at most 256, got {query.shape[-1]}")
    if int(starts[-1]) != len(query) or int(starts.diff().max()) != longest:
        raise RuntimeError(f"offsets {starts.tolist()} do not describe {len(query)} rows in runs of at most {longest}")


ATTENTION = {
    torch.ops.torch_attn._varlen_attn.default: forward,
    torch.ops.torch_attn._varlen_attn_backward.default: backward,
}
