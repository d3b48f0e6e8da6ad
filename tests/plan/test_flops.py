"""The number of operations equals torch's count for a real forward and backward pass without padding."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.plan.test_activations import small_model
from zipperasr.batching.batch import Example, collate
from zipperasr.lora import NO_LORA
from zipperasr.plan.flops import Lengths, batch_flops, recomputed_flops, step_flops

MEL_BINS, FRAMES, PACKS = 16, 320, 6  # utterances of equal length: attention needs no padding

PHASES = [("align", "vanilla"), ("sft", "vanilla"), ("sft", NO_LORA)]


@pytest.mark.parametrize("chunk_frames", [None, 80])
@pytest.mark.parametrize(("phase", "lora"), PHASES)
def test_the_count_equals_torch_s(tmp_path, phase, lora, chunk_frames):
    model, counter, batch = counted_step(tmp_path, phase, lora, chunk_frames, checkpointing=False)
    segments = [(chunk_frames or FRAMES) // 2] * (PACKS * FRAMES // (chunk_frames or FRAMES))
    flops = step_flops(model, phase, Lengths(segments, batch.text.lengths, len(batch.text.label_places)))
    assert batch_flops(model, phase, batch, chunk_frames) == flops.total
    attention = sum(_attention_flops(model, segments, batch.text.lengths, encoder_passes=1 if lora == NO_LORA else 3))
    counted = counter.get_total_flops() - _fused_attention(counter) + attention
    assert flops.total == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("phase", "lora"), PHASES)
def test_recomputation_equals_the_operations_added_by_checkpointing(tmp_path, phase, lora):
    model, plain, batch = counted_step(tmp_path, phase, lora, None, checkpointing=False)
    _, checkpointed, _ = counted_step(tmp_path, phase, lora, None, checkpointing=True)
    products = [counter.get_total_flops() - _fused_attention(counter) for counter in (plain, checkpointed)]
    segments = [FRAMES // 2] * PACKS
    attention = sum(_attention_flops(model, segments, batch.text.lengths, encoder_passes=0 if lora == NO_LORA else 3))
    attention /= 3  # the forward pass is a third of both
    recomputed = recomputed_flops(model, phase, Lengths(segments, batch.text.lengths, len(batch.text.label_places)))
    assert recomputed - attention == pytest.approx(products[1] - products[0], rel=1e-6)


def counted_step(directory, phase: str, lora: str, chunk_frames: int | None, checkpointing: bool):
    """The model, torch's count of its forward and backward pass, and the batch."""
    model, _ = small_model(directory, phase, checkpointing, torch.float32, lora)
    packs = [
        [Example("id", code, torch.randn(FRAMES, MEL_BINS), FRAMES * 160, [1] * 5, [2] * 20)]
        for code in ["de", "ja"] * (PACKS // 2)
    ]
    batch = collate(packs)
    with FlopCounterMode(display=False) as counter:
        model(batch, chunk_frames)[0].backward()
    return model, counter, batch


def _attention_flops(model, segments, positions, encoder_passes: int) -> tuple[float, float]:
    """Of encoder and LLM. torch counts a causal product in full and its backward pass two and a half times.

    encoder_passes: 3 for forward and backward pass, 1 for the forward pass alone.
    """
    whisper, llm = model.encoder.whisper.config, model.causal_lm.config
    encoder = encoder_passes * 4 * whisper.d_model * sum(n**2 for n in segments) * whisper.encoder_layers
    heads = llm.num_attention_heads * llm.head_dim
    return encoder, 6 * heads * sum(n**2 for n in positions) * llm.num_hidden_layers


def _fused_attention(counter: FlopCounterMode) -> int:
    return sum(count for operator, count in counter.get_flop_counts()["Global"].items() if "attention" in str(operator))
