"""The projector compared with its formula in plain Conv1d layers, one utterance at a time."""

from __future__ import annotations

import pytest
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


def two_languages() -> GatedProjector:
    """A projector of width 5 in which Swahili has a projector with other weights."""
    torch.manual_seed(0)
    projector = GatedProjector(d_in=6, d_hidden=10, d_out=5)
    projector.add_own("sw")
    with torch.no_grad():
        for parameter in projector.of("sw").parameters():
            parameter.add_(torch.randn_like(parameter))
    return projector


@torch.no_grad()
def test_each_utterance_of_a_mixed_batch_uses_the_projector_of_its_language():
    projector, lengths = two_languages(), [5, 8, 3, 9]
    frames, codes = torch.randn(25, 6), ["de", "sw", "sw", "ja"]
    out, counts = projector(frames, lengths, codes)
    assert counts == [2, 2, 1, 3]
    for mine, part, code in zip(frames.split(lengths), out.split(counts), codes, strict=True):
        torch.testing.assert_close(part, by_formula(projector.of(code), mine), rtol=0, atol=1e-5)
    assert projector.of("de") is projector.of(None) is projector is not projector.of("sw")


@torch.no_grad()
def test_languages_without_a_projector_of_their_own_stay_bit_identical():
    projector, frames = two_languages(), torch.randn(13, 6)
    before = GatedProjector(d_in=6, d_hidden=10, d_out=5)
    before.load_state_dict({name: w for name, w in projector.state_dict().items() if not name.startswith("own.")})
    assert torch.equal(projector(frames, [5, 8], ["de", "ja"])[0], before(frames, [5, 8])[0])


def test_a_new_own_projector_is_a_copy_of_the_shared_one():
    projector, frames = GatedProjector(d_in=6, d_hidden=10, d_out=5), torch.randn(8, 6)
    for code in ("sw", "to", "zh.TW"):  # nn.Module has an attribute "to", and "." separates its names
        projector.add_own(code)
        assert torch.equal(projector(frames, [8], [code])[0], projector(frames, [8], ["de"])[0])
    assert {name.split(".")[1] for name in projector.state_dict() if name.startswith("own.")} == {
        "for_sw", "for_to", "for_zh_TW",
    }  # fmt: skip


def test_two_own_projectors_with_the_same_name_are_an_error():
    projector = GatedProjector(d_in=6, d_hidden=10, d_out=5)
    projector.add_own("zh.TW")
    own = projector.of("zh.TW")
    with pytest.raises(ValueError, match=r"^got the language 'zh_TW', whose projector for_zh_TW exists; choose a code"):
        projector.add_own("zh_TW")
    assert projector.of("zh.TW") is own


def test_projectors_that_are_not_in_the_batch_get_exactly_zero_gradient():
    projector = two_languages()
    projector(torch.randn(8, 6), [8], ["de"])[0].square().sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in projector.of("sw").parameters())
    assert all(p.grad.any() for name, p in projector.named_parameters() if not name.startswith("own."))
    projector.zero_grad()
    projector(torch.randn(8, 6), [8], ["sw"])[0].square().sum().backward()
    assert all(p.grad.any() for p in projector.of("sw").parameters())
    assert not any(p.grad.any() for name, p in projector.named_parameters() if not name.startswith("own."))
