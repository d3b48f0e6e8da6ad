"""On a real GPU: torch's check for synchronising calls agrees with the simulation's count of waits; CUDA graphs."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.model import tiny
from tests.simulated_gpu.test_decoding import GREEDY, texts, utterances
from tests.simulated_gpu.test_training import CHUNK_FRAMES, new_model
from zipperasr.batching.batch import collate
from zipperasr.lora import VARIANTS

__all__ = ["utterances"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", ["align", *sorted(VARIANTS)])
def test_the_host_does_not_wait_in_forward_and_backward(backbones, variant, dtype):
    model = new_model(backbones, variant, dtype, checkpointing=True).to("cuda")
    batch = collate(tiny.two_packs()).pin_memory()
    for checked in (False, True):  # the first step loads kernels
        torch.cuda.set_sync_debug_mode("error" if checked else "default")
        try:
            loss, _, num_labels = model(batch.to("cuda"), CHUNK_FRAMES["chunked"])
            (loss / num_labels).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_cuda_graphs_give_the_same_hypotheses(backbones, utterances):
    model = new_model(backbones, "zipper_soft", torch.float32, checkpointing=False).to("cuda").eval()
    wanted = texts(model, utterances)
    assert texts(model, utterances, dataclasses.replace(GREEDY, cuda_graphs=True)) == wanted and any(wanted.values())
