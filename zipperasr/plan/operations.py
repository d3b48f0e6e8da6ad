"""Operations per second of speech, and hours of training on given GPUs.

In: the model, the GPUs, their assumed utilisation, the steps of both phases. Out: a table and its assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass

from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.columns import aligned
from zipperasr.plan.flops import Lengths, recomputed_flops, step_flops
from zipperasr.plan.steps import AssumedSpeech, PhaseSteps
from zipperasr.train.throughput import PEAK_BF16_TFLOPS

STAGE = {"align": "alignment", "sft": "adaptation"}
PARTS = ("encoder", "projector", "llm", "lm_head", "total")
GIGA_PER_SECOND = 3600 * 1e9  # operations of an hour of speech -> GFLOP of a second


@dataclass(frozen=True)
class Gpu:
    """One GPU model. tflops: peak of dense bfloat16 products, in TFLOP/s."""

    name: str
    tflops: float
    memory_gib: float


GPUS = {
    "a800": Gpu("A800", PEAK_BF16_TFLOPS["A800"], 80.0),  # the paper's
    "a100": Gpu("A100", PEAK_BF16_TFLOPS["A100"], 80.0),
    "h100": Gpu("H100 SXM", PEAK_BF16_TFLOPS["H100"], 80.0),
    "h200": Gpu("H200", PEAK_BF16_TFLOPS["H200"], 141.0),
}


@dataclass(frozen=True)
class Machines:
    """All GPUs of a training. utilisation: model FLOPs utilisation (MFU), needed operations by peak."""

    gpu: Gpu
    count: int
    utilisation: float

    @property
    def speed(self) -> float:
        """Needed operations per second."""
        return self.utilisation * self.gpu.tflops * 1e12 * self.count

    def __str__(self) -> str:
        return f"{self.count} {self.gpu.name} GPU{'s' if self.count > 1 else ''}"


def operations(
    model: SpeechLLM,
    config: ModelConfig,
    regime: str,
    machines: Machines,
    speech: AssumedSpeech,
    plan: dict[str, PhaseSteps],
) -> tuple[str, str]:
    """The table and its assumptions. plan: {} if the hours of audio are not known yet."""
    lengths = Lengths.assumed(1.0, speech, 30.0 if regime == "full" else config.decode_chunk_s)
    costs = {phase: step_flops(model, phase, lengths) for phase in STAGE}
    totals = {phase: cost.total for phase, cost in costs.items()}
    rows = [("", *STAGE.values())]

    def row(name: str, values) -> None:
        rows.append((name, *values))

    for part in PARTS:
        row(
            f"GFLOP per second of speech: {part}", (f"{getattr(c, part) / GIGA_PER_SECOND:.1f}" for c in costs.values())
        )
    assumed = (
        f"assumed: {machines} at {100 * machines.utilisation:g} % of {machines.gpu.tflops:g} TFLOP/s (dense bfloat16)"
    )
    if config.checkpointing:
        added = {phase: recomputed_flops(model, phase, lengths) for phase in STAGE}
        shares = [extra / (extra + totals[phase]) for phase, extra in added.items()]
        row("GFLOP per second of speech: recomputed", (f"{extra / GIGA_PER_SECOND:.1f}" for extra in added.values()))
        row("share of all operations: recomputed", (f"{100 * share:.0f} %" for share in shares))
        busy = " and ".join(f"{100 * machines.utilisation / (1 - share):.0f} %" for share in shares)
        assumed += f";\nincluding recomputed operations, the utilisation is {busy}"
    row("seconds of speech per second", (f"{3600 * machines.speed / total:,.0f}" for total in totals.values()))
    row("hours for 1,000 hours", (f"{1000 * total / machines.speed / 3600:.2f}" for total in totals.values()))
    if plan:
        hours = {phase: plan[STAGE[phase]].hours * plan[STAGE[phase]].epochs for phase in STAGE}
        row(f"hours on {machines}", (f"{hours[phase] * totals[phase] / machines.speed / 3600:.1f}" for phase in STAGE))
    return aligned(rows, right=(1, 2)), assumed
