"""The LLM computes the same for packed utterances as transformers for each; the loss is plain cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.model import packed_llm

WIDTH, VOCABULARY = 6, 11


def frozen_head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=False).double().requires_grad_(False)


def hidden_and_targets(labels: int):
    return torch.randn(labels, WIDTH, dtype=torch.float64, requires_grad=True), torch.randint(VOCABULARY, (labels,))


@pytest.mark.parametrize("labels", [1, 4, 9])
def test_loss_and_gradient_are_those_of_plain_cross_entropy(monkeypatch, labels):
    monkeypatch.setattr(packed_llm, "LABELS_AT_ONCE", 4)  # nine labels: two full parts and a remainder
    head, (hidden, targets) = frozen_head(), hidden_and_targets(labels)
    loss, correct = packed_llm.label_loss(hidden, head, targets)
    logits = head(hidden)
    expected = functional.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    assert correct == (logits.argmax(-1) == targets).sum()
    (mine,), (right,) = (torch.autograd.grad(3 * x, [hidden]) for x in (loss, expected))
    torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-7)


def test_no_gradient_is_computed_if_none_is_required(monkeypatch):
    head, (hidden, targets) = frozen_head(), hidden_and_targets(3)
    monkeypatch.setattr(torch.Tensor, "scatter_add_", None)  # the first step of computing the gradient
    loss, _ = packed_llm.label_loss(hidden.detach(), head, targets)
    torch.testing.assert_close(loss.double(), functional.cross_entropy(head(hidden), targets, reduction="sum"))


def test_a_batch_without_labels_has_no_loss():
    hidden, targets = hidden_and_targets(0)
    loss, correct = packed_llm.label_loss(hidden, frozen_head(), targets)
    assert loss == correct == 0


@pytest.mark.parametrize("change", [{"bias": True}, {"trains": True}])
def test_a_trainable_head_is_rejected(change):
    head = nn.Linear(WIDTH, VOCABULARY, bias=change.get("bias", False)).requires_grad_(change.get("trains", False))
    with pytest.raises(ValueError, match="wanted a frozen one without bias"):
        packed_llm.label_loss(torch.randn(2, WIDTH), head, torch.tensor([0, 1]))


@torch.no_grad()
def test_logits_of_packed_utterances_equal_those_of_transformers(config):
    model = tiny.align_model(config)
    batch = collate(tiny.two_packs())
    speech, counts = model.embed_speech(batch.speech, None)
    packed = model.packed_logits(batch)
    embed = model.causal_lm.get_input_embeddings()
    examples = [example for pack in tiny.two_packs() for example in pack]
    for example, part, mine in zip(examples, speech.split(counts), packed.split(batch.text.lengths), strict=True):
        prompt, transcript = (embed(torch.tensor(ids)) for ids in (example.prompt, example.transcript))
        theirs = model.llm(inputs_embeds=torch.cat([prompt, part, transcript])[None]).logits[0]
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
        assert theirs.std() > 0.05
