"""The DeepSpeed engine: process group, parameter groups, ZeRO, and the language of each element of a flat partition.

In: the model with its trainable parameters, TrainConfig. Out: an engine for one or several processes, on CPUs (gloo) or
GPUs (nccl).
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, distributed, nn

from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.trained_parts import OF_THE_LANGUAGE, part_of
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.train_config import TrainConfig

# Elements. More than the largest parameter has, and an eighth of the trainable parameters of stage 6 at full scale.
REDUCE_BUCKET = 25_000_000
# On a CPU, DeepSpeed 0.19 compiles this operator whenever ranks join. Training never calls it, and it needs a C++
# compiler and 85 s on two cores.
_UNUSED_OP = "deepspeed_shm_comm"


def start_ranks() -> tuple[int, int]:
    """Join the launcher's process group, or create one of a single process. Returns rank and world size."""
    from deepspeed.accelerator import get_accelerator

    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if not distributed.is_initialized():
        join_ranks("nccl" if torch.cuda.is_available() else "gloo")
        # DeepSpeed's engine does this too late: with NCCL, all ranks would exchange checkpoint facts on GPU 0.
        get_accelerator().set_device(int(os.environ["LOCAL_RANK"]))
    return distributed.get_rank(), distributed.get_world_size()


def join_ranks(backend: str, **settings: Any) -> None:
    """`deepspeed.init_distributed` without a compiler; `settings` (init_method, rank, timeout ...) are passed on."""
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__[_UNUSED_OP] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False, **settings)
    atexit.register(_leave_ranks)


def _leave_ranks() -> None:
    """End gloo's threads before the interpreter ends, which otherwise sometimes aborts (SIGABRT) after all work."""
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def make_engine(model: SpeechLLM, config: TrainConfig):
    """Returns the engine and its optimiser (the `LanguageAdamW` inside ZeRO's)."""
    import deepspeed

    num_languages = len(model.adapters.language_codes) if model.adapters is not None else 1
    groups = parameter_groups(model, config)
    languages = languages_of_elements(model, groups)
    order = [list(group["params"]) for group in groups]  # DeepSpeed may replace them by copies
    optimiser = LanguageAdamW(groups, config.lr, config.betas, num_languages, config.absent_language == "hold")
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimiser, config=deepspeed_config(config))
    # In half precision without ZeRO, DeepSpeed allocates the state by a step on zero gradients. Undo that step.
    optimiser.state.clear()
    for group in optimiser.param_groups:
        group["lr"] = config.lr
    if config.zero_stage == 0:
        held = [group["params"] for group in optimiser.param_groups]
        pairs = zip(chain.from_iterable(held), chain.from_iterable(order), strict=True)
        banks = {mine: languages[original] for mine, original in pairs if original in languages}
    else:
        banks = _banks_of_partitions(engine.optimizer, optimiser, languages)
    optimiser.bank_of_element = banks
    optimiser.checks_gradients = config.zero_stage == 0  # ZeRO checks the gradients of all ranks itself
    return engine, optimiser


def float32_weights(model: nn.Module) -> dict[nn.Parameter, Tensor]:
    """The trainable float32 weights, to be called before `make_engine` and passed to `restore_master_weights` after it.

    DeepSpeed 0.19 casts the model to bf16 or fp16 before it copies its float32 master weights from it. This would round
    Whisper's encoder, which the alignment trains, by up to 0.4 %: bf16 has 8 significant bits, and the published
    float16 weights have 11.
    """
    return {p: p.data for p in model.parameters() if p.requires_grad and p.dtype == torch.float32}


def restore_master_weights(exact: dict[nn.Parameter, Tensor]) -> None:
    """Write `exact` into the master copy of each parameter that ZeRO-1 or ZeRO-2 has cast."""
    from deepspeed.utils import safe_set_full_fp32_param

    for parameter, value in exact.items():
        if parameter.dtype != value.dtype:
            safe_set_full_fp32_param(parameter, value)


def parameter_groups(model: SpeechLLM, config: TrainConfig) -> list[dict]:
    """Trainable parameters, grouped by weight decay, learning rate, and by belonging to languages or to all."""
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        router, kind = name.startswith("adapters.router."), name.rpartition(".")[2]
        # Biases and gains of the router are vectors, stacked over the layers.
        decays, banks = parameter.ndim > 1 and not (router and kind != "weight"), part_of(name) in OF_THE_LANGUAGE
        tunes_encoder = model.adapters is None and name.startswith("encoder.")
        lr_factor = config.router_lr_factor if router else config.encoder_lr_factor if tunes_encoder else 1.0
        group = groups.setdefault(
            (decays, router, banks, lr_factor),
            {
                "params": [],
                "weight_decay": config.weight_decay if decays else 0.0,
                "lr_factor": lr_factor,
                "banks": banks,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def deepspeed_config(config: TrainConfig) -> dict:
    """DeepSpeed's own configuration. Batch sizes are in packs; the training loop scales the loss."""
    settings = {
        "train_micro_batch_size_per_gpu": config.packs_per_batch,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": {
            "stage": config.zero_stage,
            # Reduce buckets during the backward pass, on a separate stream. By default, ZeRO-1 and 2 wait.
            "overlap_comm": True,
            # DeepSpeed's default of 5e8 exceeds the trainable parameters of stage 6, whose single bucket would be
            # reduced after the backward pass.
            "reduce_bucket_size": REDUCE_BUCKET,
        },
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.precision == "bf16"},
        "fp16": {"enabled": config.precision == "fp16"},
        # Sum the ranks' gradients in float32: they often cancel, and bfloat16 has only 8 significant bits. In ZeRO-2
        # this takes effect only together with grad_accum_dtype below.
        "communication_data_type": "fp32",
        "steps_per_print": 10**9,
    }
    if config.zero_stage == 2 and config.precision != "fp32":
        # Accumulate reduced gradients over micro-steps in float32. Not in ZeRO-1, where DeepSpeed would replace the
        # optimiser by one that does not skip non-finite steps; ZeRO-0 does not support it.
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def languages_of_elements(model: SpeechLLM, groups: Sequence[dict]) -> dict[nn.Parameter, Tensor]:
    """The language index of each element, flattened, for all parameters in `groups` that belong to languages."""
    codes = model.adapters.language_codes if model.adapters is not None else ()
    own = {p: index for index, code in enumerate(codes) if model.projector.of(code) is not model.projector
           for p in model.projector.of(code).parameters()}  # fmt: skip
    chosen = [parameter for group in groups if group["banks"] for parameter in group["params"]]
    return {p: _languages_of(p) if p not in own else _constant(p, own[p]) for p in chosen}


def _banks_of_partitions(
    zero, optimiser: LanguageAdamW, languages_of: Mapping[nn.Parameter, Tensor]
) -> dict[Tensor, Tensor]:
    """The language of each element of this rank's flat partitions.

    ZeRO concatenates a group's parameters in its own order, pads the end and gives each rank an equal slice.
    """
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    banks = {}
    for number, group in enumerate(optimiser.param_groups):
        if not group["banks"]:
            continue
        languages = torch.cat([languages_of[parameter] for parameter in zero.round_robin_bit16_groups[number]])
        (partition,) = group["params"]
        padding = partition.numel() * world_size - len(languages)
        if padding < 0:
            raise RuntimeError(
                f"ZeRO group {number}: got {world_size} partitions of {partition.numel()} elements for "
                f"{len(languages)} elements"
            )
        languages = torch.cat([languages, languages.new_zeros(padding)])
        banks[partition] = languages.view(world_size, -1)[rank].clone()
    return banks


def _languages_of(parameter: Tensor) -> Tensor:
    """Language index of each element of a stacked parameter (languages, ...), flattened."""
    per_language = parameter.numel() // parameter.shape[0]
    codes = torch.arange(parameter.shape[0], dtype=torch.int16, device=parameter.device)
    return codes.repeat_interleave(per_language)


def _constant(parameter: Tensor, language: int) -> Tensor:
    return torch.full((parameter.numel(),), language, dtype=torch.int16, device=parameter.device)
