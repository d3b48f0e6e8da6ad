"""Decoding settings (conf/*/decode.yaml). The paper does not give any."""

from __future__ import annotations

from dataclasses import dataclass

from zipperasr.cli import nearest
from zipperasr.ranges import COUNT, NOT_NEGATIVE, Range, check_ranges

PRECISIONS = ("fp32", "bf16")
ENGINES = ("own", "vllm")
QUANTIZATIONS = ("none", "int8")
RANGES = {
    **dict.fromkeys(("beam", "batch_positions", "batch_size", "tensor_parallel", "nbest"), COUNT),
    **dict.fromkeys(("tokens_per_s", "tokens_floor"), NOT_NEGATIVE),
    "length_penalty": Range(),
}
ALIGNMENT_SETS = ("own", "all")  # test sets of an alignment: those of its phase, or of the adaptation too


@dataclass(frozen=True)
class DecodeConfig:
    """Settings of one decoding."""

    beam: int = 1  # 1: greedy
    batch_positions: int = 2048  # prompt and speech positions per batch, including padding
    batch_size: int = 16  # largest number of utterances per batch
    tokens_per_s: float = 12.0  # longest transcript: tokens per second of audio ...
    tokens_floor: int = 16  # ... plus this many
    length_penalty: float = 1.0  # beam search only
    retry_loops: bool = False  # greedy: decode utterances that end in a loop again, without repetition
    precision: str = "fp32"  # fp32 | bf16
    engine: str = "own"  # of greedy search: own | vllm (tools/install_vllm.sh), which ignores batch_*
    tensor_parallel: int = 1  # engine vllm: GPUs that share the LLM
    nbest: int = 1  # beam search: texts of each utterance that are kept with their scores; 1: none beside its text
    quantize: str = "none"  # of the LLM in our greedy search: none | int8 (CPU only)
    cuda_graphs: bool = False  # our greedy search replays its steps as CUDA graphs (GPU only)

    def __post_init__(self) -> None:
        for key, known in (("precision", PRECISIONS), ("engine", ENGINES), ("quantize", QUANTIZATIONS)):
            value = getattr(self, key)
            if value not in known:
                raise ValueError(f"{key}: unknown value {value!r}; {nearest(value, known)}")
        check_ranges(self, RANGES)
        if self.nbest > self.beam:
            raise ValueError(f"nbest: got {self.nbest}, wanted at most beam, {self.beam}; set beam={self.nbest}")
        if self.engine == "vllm" and self.beam > 1:
            raise ValueError("engine: vllm is for greedy search; set beam=1")
        if self.fast_options and (self.beam > 1 or self.engine != "own"):
            key, wanted = ("beam", "1") if self.beam > 1 else ("engine", "own")
            shown, off = self.fast_options[0]
            raise ValueError(f"{shown} is for our greedy search; set {key}={wanted} or {off}")
        if self.engine != "vllm" and self.tensor_parallel > 1:
            raise ValueError(f"tensor_parallel: got {self.tensor_parallel}, wanted 1, or engine=vllm")

    @property
    def fast_options(self) -> list[tuple[str, str]]:
        """Settings in use that only our fast greedy search has: "name: value", and how to switch them off."""
        chosen = [(f"quantize: {self.quantize}", "quantize=none")] if self.quantize != "none" else []
        return [*chosen, ("cuda_graphs: true", "cuda_graphs=false")] if self.cuda_graphs else chosen

    @property
    def name(self) -> str:
        return "greedy" if self.beam == 1 else f"beam{self.beam}"
