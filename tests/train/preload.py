"""Imports what a training imports, and computes what transformers computes once per process."""

import importlib

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

for module in (
    "deepspeed.runtime.zero.muon.muon_optimizer", "matplotlib.pyplot", "peft", "torch.utils.tensorboard",
    "transformers.models.qwen3.modeling_qwen3", "transformers.models.whisper.modeling_whisper",
    "zipperasr.plan.flops", "zipperasr.train.run_training",
):  # fmt: skip
    importlib.import_module(module)
get_checkpoint_conversion_mapping("whisper")
