"""The DeepSpeed engine: parameter groups, ZeRO, and which flat element belongs to which language.

In: the model with its trainable parameters, TrainConfig. Out: an engine for one process or many, CPU (gloo) or GPU.
"""

from __future__ import annotations

import os
import socket

import torch
from torch import Tensor

from zipperasr.lora.base import BANK_NAMES
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.train.deepspeed_start import join_ranks
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.train_config import TrainConfig

REDUCE_BUCKET = 25_000_000  # elements: above the largest parameter, and an eighth of what stage 6 trains at full scale


def start_ranks() -> tuple[int, int]:
    """Join the process group that a launcher described, or make one of a single process. Returns rank, world size."""
    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if not torch.distributed.is_initialized():
        join_ranks("nccl" if torch.cuda.is_available() else "gloo")
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def make_engine(model: SpeechLLM, config: TrainConfig):
    """Returns the engine and its optimiser (the LanguageAdamW inside ZeRO's)."""
    import deepspeed

    num_languages = len(model.adapters.language_codes) if model.adapters is not None else 1
    optimiser = LanguageAdamW(
        parameter_groups(model, config), config.lr, config.betas, num_languages, config.absent_language == "hold"
    )
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimiser, config=deepspeed_config(config))
    # In half precision without ZeRO, DeepSpeed steps once on zero gradients, to allocate the state: undo that step.
    optimiser.state.clear()
    for group in optimiser.param_groups:
        group["lr"] = config.lr
    if config.zero_stage == 0:
        banks = {p: _languages_of(p) for group in optimiser.param_groups if group["banks"] for p in group["params"]}
    else:
        banks = _banks_of_partitions(engine.optimizer, optimiser)
    optimiser.bank_of_element = banks
    optimiser.checks_gradients = config.zero_stage == 0  # ZeRO checks those of all ranks
    return engine, optimiser


def parameter_groups(model: SpeechLLM, config: TrainConfig) -> list[dict]:
    """Trainable parameters by weight decay, by router and by whether they are stacked banks."""
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        router, kind = name.startswith("adapters.router."), name.rpartition(".")[2]
        # biases and gains of the router are vectors, stacked over the layers
        decays, banks = parameter.ndim > 1 and not (router and kind != "weight"), kind in BANK_NAMES
        group = groups.setdefault(
            (decays, router, banks),
            {
                "params": [],
                "weight_decay": config.weight_decay if decays else 0.0,
                "lr_factor": config.router_lr_factor if router else 1.0,
                "banks": banks,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def deepspeed_config(config: TrainConfig) -> dict:
    """DeepSpeed's own configuration. The loss is scaled by us; batches are counted in packs, not in samples."""
    settings = {
        "train_micro_batch_size_per_gpu": config.packs_per_batch,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": {
            "stage": config.zero_stage,
            # Buckets are reduced during the backward pass, on a stream of their own; by default, ZeRO-1 and 2 wait.
            "overlap_comm": True,
            # DeepSpeed's 5e8 is more than stage 6 trains: one bucket, reduced after the backward pass.
            "reduce_bucket_size": REDUCE_BUCKET,
        },
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.precision == "bf16"},
        "fp16": {"enabled": config.precision == "fp16"},
        # Gradients of the ranks are summed in float32: their sum is often smaller than they are, and bfloat16 keeps
        # 8 bits of it. In ZeRO-2 this takes effect only together with grad_accum_dtype below.
        "communication_data_type": "fp32",
        "steps_per_print": 10**9,
    }
    if config.zero_stage == 2 and config.precision != "fp32":
        # Reduced gradients are added up over micro-steps in float32. Not in ZeRO-1, where DeepSpeed would replace the
        # optimiser by one that does not leave out steps that are not finite; nor in stage 0, which does not have it.
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def _banks_of_partitions(zero, optimiser: LanguageAdamW) -> dict[Tensor, Tensor]:
    """The language of each element of this rank's flat partitions.

    ZeRO lays a group's parameters end to end in its own order, pads the end and gives each rank an equal slice.
    """
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    banks = {}
    for number, group in enumerate(optimiser.param_groups):
        if not group["banks"]:
            continue
        languages = torch.cat([_languages_of(parameter) for parameter in zero.round_robin_bit16_groups[number]])
        (partition,) = group["params"]
        padding = partition.numel() * world_size - len(languages)
        if padding < 0:
            raise RuntimeError(
                f"ZeRO's group {number} holds {len(languages)} elements in {world_size} x {partition.numel()}"
            )
        languages = torch.cat([languages, languages.new_zeros(padding)])
        banks[partition] = languages.view(world_size, -1)[rank].clone()
    return banks


def _languages_of(parameter: Tensor) -> Tensor:
    """Bank of each element of a stacked parameter (languages, ...), flattened."""
    per_language = parameter.numel() // parameter.shape[0]
    codes = torch.arange(parameter.shape[0], dtype=torch.int16, device=parameter.device)
    return codes.repeat_interleave(per_language)
