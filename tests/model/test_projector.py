"""The projector compared with its formula in plain Conv1d layers, one utterance at a time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from zipperasr.model.build import build_model
from zipperasr.model.projector import GatedProjector


def by_formula(projector: GatedProjector, frames: torch.Tensor) -> torch.Tensor:
    """h = silu(gate(x)) * up(x); h = LayerNorm(h + linear(h)); out(h).

    frames: (n, d_in), where n is padded to a multiple of 4.
    """
    frames = functional.pad(frames, (0, 0, 0, -len(frames) % 4))
    gate, up = nn.Conv1d(6, 10, 4, stride=4), nn.Conv1d(6, 10, 4, stride=4)
    gate.load_state_dict(projector.gate.state_dict())
    up.load_state_dict(projector.up.state_dict())
    hidden = (functional.silu(gate(frames.T[None])) * up(frames.T[None]))[0].T
    hidden = functional.layer_norm(
        hidden + hidden @ projector.linear.weight.T + projector.linear.bias,
        (10,),
        projector.norm.weight,
        projector.norm.bias,
    )
    return hidden @ projector.out.weight.T + projector.out.bias


@torch.no_grad()
def test_every_utterance_follows_the_formula():
    torch.manual_seed(0)
    projector = GatedProjector(d_in=6, d_hidden=10, d_out=5)
    lengths = [1, 4, 5, 8, 11, 2]
    frames = torch.randn(sum(lengths), 6)
    out, counts = projector(frames, lengths)
    assert counts == [1, 1, 2, 2, 3, 1]
    for mine, part in zip(frames.split(lengths), out.split(counts), strict=True):
        torch.testing.assert_close(part, by_formula(projector, mine), rtol=0, atol=1e-5)


@torch.no_grad()
def test_outputs_of_a_new_projector_have_the_scale_of_the_token_embeddings():
    torch.manual_seed(0)
    projector, embeddings = GatedProjector(d_in=6, d_hidden=64, d_out=48), torch.randn(100, 48) * 0.03
    projector.match_scale(embeddings)
    speech, _ = projector(torch.randn(400, 6), [400])
    assert 0.8 < speech.square().mean().sqrt() / 0.03 < 1.25


@torch.no_grad()
def test_a_new_model_has_such_a_projector(config):
    model = build_model(config)
    embeddings = model.causal_lm.get_input_embeddings().weight
    speech, _ = model.projector(torch.randn(400, model.encoder.width), [400])
    assert 0.5 < speech.square().mean() / embeddings.square().mean() < 2.0
