"""The complete model: packs, isolation of utterances, windows, chunks and the loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.model import tiny
from zipperasr.batching.batch import Speech, collate

CHUNKS = pytest.mark.parametrize("chunk_frames", [None, 50])


@pytest.fixture(scope="module", params=["align", "zipper_soft", "independent"])
def model(config, request):
    return tiny.align_model(config) if request.param == "align" else tiny.sft_model(config, request.param)


def logits_by_utterance(model, packs, chunk_frames):
    """Packed logits split into utterances: utterance id -> (positions, vocabulary)."""
    batch = collate(packs)
    logits = model.packed_logits(batch, chunk_frames)
    return dict(zip(batch.utt_ids, logits.split(batch.text.lengths), strict=True))


@CHUNKS
@torch.no_grad()
def test_packed_logits_equal_single_logits(model, chunk_frames):
    packs = tiny.two_packs()
    packed = logits_by_utterance(model, packs, chunk_frames)
    for example in (example for pack in packs for example in pack):
        alone = logits_by_utterance(model, [[example]], chunk_frames)[example.utt_id]
        assert alone.std() > 0.05
        torch.testing.assert_close(packed[example.utt_id], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_changing_one_utterance_changes_no_other(model):
    packs = tiny.two_packs()
    before = logits_by_utterance(model, packs, None)
    packs[0][1] = replace(packs[0][1], mel=packs[0][1].mel * 3 + 1, prompt=packs[0][1].prompt[::-1])
    after = logits_by_utterance(model, packs, None)
    changes = {utt_id: (after[utt_id] - before[utt_id]).abs().max().item() for utt_id in before}
    assert changes.pop("b") > 0.05
    assert max(changes.values()) < 1e-5, changes


@CHUNKS
@torch.no_grad()
def test_loss_is_the_summed_cross_entropy_of_the_transcripts(model, chunk_frames):
    packs = tiny.two_packs()
    loss, stats, weight = model(collate(packs), chunk_frames)
    expected = correct = labels = 0
    for example in (example for pack in packs for example in pack):
        logits = logits_by_utterance(model, [[example]], chunk_frames)[example.utt_id]
        targets = torch.tensor(example.transcript)
        predictions = logits[-len(targets) - 1 : -1]  # from the last speech position
        expected += functional.cross_entropy(predictions, targets, reduction="sum")
        correct += (predictions.argmax(-1) == targets).sum()
        labels += len(targets)
    assert weight == labels
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(stats["loss"], expected / labels)
    torch.testing.assert_close(stats["accuracy"], correct / labels)


@torch.no_grad()
def test_35_s_are_encoded_completely_in_windows_of_30_s(model):
    mel = tiny.random_mel(3500)
    whole, counts = model.embed_speech(Speech(mel, (3500,), ("ja",)), None)
    windows = [model.embed_speech(Speech(part, (len(part),), ("ja",)), None)[0] for part in mel.split([3000, 500])]
    assert counts == [438]
    torch.testing.assert_close(whole[:375], windows[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(whole[375:], windows[1], rtol=0, atol=1e-4)


@torch.no_grad()
def test_chunks_are_encoded_alone_and_concatenated(model):
    lengths = (250, 96)
    mel = tiny.random_mel(sum(lengths))
    chunked, counts = model.embed_speech(Speech(mel, lengths, ("de", "ja")), 80)  # 80 mel frames: 10 positions
    parts = mel.split([80, 80, 80, 10, 80, 16])
    codes = ("de",) * 4 + ("ja",) * 2
    alone = [model.embed_speech(Speech(p, (len(p),), (c,)), None)[0] for p, c in zip(parts, codes, strict=True)]
    assert counts == [32, 12]
    torch.testing.assert_close(chunked, torch.cat(alone), rtol=0, atol=1e-4)
    full, _ = model.embed_speech(Speech(mel, lengths, ("de", "ja")), None)
    assert (full - chunked).abs().max() > 0.01, "chunking must change the output"


@torch.no_grad()
def test_each_utterance_uses_the_adapters_of_its_language(config):
    model = tiny.sft_model(config, "independent")
    mel = tiny.random_mel(120)
    mixed, counts = model.embed_speech(Speech(mel, (50, 70), ("de", "ja")), 30)
    for part, mine, code in zip(mel.split([50, 70]), mixed.split(counts), ("de", "ja"), strict=True):
        right, _ = model.embed_speech(Speech(part, (len(part),), (code,)), 30)
        wrong, _ = model.embed_speech(Speech(part, (len(part),), ("es",)), 30)
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-4)
        assert (mine - wrong).abs().max() > 0.01


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("phase", ["align", "sft"])
def test_compiling_changes_no_loss_and_no_gradient(config, phase, checkpointing):
    found = []
    for compiled in (False, True):
        changed = replace(config, checkpointing=checkpointing)
        model = (tiny.align_model if phase == "align" else tiny.sft_model)(changed).train()
        if compiled:
            model.compile_layers(backend="aot_eager")
        losses = []
        for packs in (tiny.two_packs(), tiny.two_packs()[:1]):  # with other lengths and languages
            losses.append(model(collate(packs), 50)[0])
            losses[-1].backward()
        found.append((losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (losses, gradients), (others, other_gradients) = found
    torch.testing.assert_close(losses, others)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, other_gradients[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("phase", ["align", "sft"])
def test_checkpointing_changes_no_gradient(config, phase):
    gradients = []
    for checkpointing in (False, True):
        changed = replace(config, checkpointing=checkpointing)
        model = (tiny.align_model if phase == "align" else tiny.sft_model)(changed).train()
        model(collate(tiny.two_packs()), 50)[0].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("phase", ["align", "sft"])
def test_a_model_in_bfloat16_trains_on_float32_features(config, phase):
    model = (tiny.align_model if phase == "align" else tiny.sft_model)(config)
    exact = model(collate(tiny.two_packs()), 50)[0]
    model.bfloat16()
    loss, _, weight = model(collate(tiny.two_packs()), 50)
    loss.backward()
    assert abs(loss - exact) / weight < 0.1
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
