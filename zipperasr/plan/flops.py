"""Count the floating-point operations that a training step needs, from the model's shapes and its batch's lengths.

In: a built model on any device, frozen by phase; the lengths. Out: `StepFlops`. A layer with a frozen weight has two
products, forward and for the gradient of its input; one with a trained weight has a third, for its own gradient. An
encoder without trained weights runs forward only.
Padding and other overhead of an implementation are not counted. `recomputed_flops` counts what checkpointing adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from zipperasr.audio.segments import MEL_FRAMES_PER_S, PROJECTOR_STRIDE, cut
from zipperasr.lora.base import LoraLinear
from zipperasr.plan.steps import AssumedSpeech

if TYPE_CHECKING:
    from zipperasr.batching.batch import PackedBatch
    from zipperasr.model.speech_llm import SpeechLLM

ENCODER_FRAMES_PER_S = MEL_FRAMES_PER_S // 2


@dataclass(frozen=True)
class Lengths:
    """Lengths of the parts of a batch."""

    segments: Sequence[int]  # encoder frames of each segment
    positions: Sequence[int]  # LLM positions of each utterance
    labels: int  # of all utterances

    @classmethod
    def assumed(cls, hours: float, speech: AssumedSpeech, longest_s: float) -> Lengths:
        """Hours of typical utterances, cut into segments of at most `longest_s`."""
        utterances = round(3600 * hours / speech.utterance_s)
        frames = round(ENCODER_FRAMES_PER_S * speech.utterance_s)
        return cls(
            segments=cut(frames, round(ENCODER_FRAMES_PER_S * longest_s)) * utterances,
            positions=[round(speech.all_positions_per_s * speech.utterance_s)] * utterances,
            labels=round(speech.labels_per_s * speech.utterance_s) * utterances,
        )

    @property
    def frames(self) -> int:
        return sum(self.segments)


@dataclass(frozen=True)
class StepFlops:
    """Operations of forward and backward pass, by part; a multiply-add counts as two."""

    encoder: float
    projector: float
    llm: float
    lm_head: float

    @property
    def total(self) -> float:
        return self.encoder + self.projector + self.llm + self.lm_head


def encoder_is_frozen(model: SpeechLLM, phase: str) -> bool:
    """True for an adaptation without LoRA of the encoder, which then has no backward pass. model: of either phase."""
    return phase == "sft" and model.adapters is None


def step_flops(model: SpeechLLM, phase: str, lengths: Lengths) -> StepFlops:
    """Operations of one training step. phase: align or sft."""
    shape = model.llm_family.shape(model.causal_lm.config)
    heads = shape.heads * shape.head_dim
    causal = 3 * 2 * heads * sum(positions**2 for positions in lengths.positions)
    blocks = model.llm_family.layers(model.causal_lm)
    positions = sum(lengths.positions)
    projector = 3 * _projector_weights(model)
    if encoder_is_frozen(model, phase):  # no gradient of the projector's input
        projector -= sum(x.weight.numel() for x in (model.projector.gate, model.projector.up))
    return StepFlops(
        encoder=_encoder_flops(model, phase, lengths),
        projector=2 * projector * lengths.frames / PROJECTOR_STRIDE,
        llm=sum(_linear_layers(block, positions, 2) for block in blocks) + causal * len(blocks),
        lm_head=2 * 2 * lengths.labels * model.causal_lm.lm_head.weight.numel(),
    )


def _encoder_flops(model: SpeechLLM, phase: str, lengths: Lengths) -> float:
    passes = 1 if encoder_is_frozen(model, phase) else {"align": 3, "sft": 2}[phase]
    both_ways = 1 if passes == 1 else 3  # attention's backward pass has twice the operations
    attention = both_ways * 4 * model.encoder.width * sum(frames**2 for frames in lengths.segments)  # per layer
    convolutions = 2 * lengths.frames * model.encoder.weights_before_layers() * (3 if phase == "align" else 1)
    layers = model.encoder.layers
    encoder = sum(_linear_layers(layer, lengths.frames, passes) for layer in layers) + attention * len(layers)
    if passes == 2:  # nothing before the first adapters is trained: no gradient of their input
        encoder -= sum(2 * lengths.frames * _base(x).weight.numel() for x in model.encoder.first_linears())
    return encoder + convolutions


def batch_flops(model: SpeechLLM, phase: str, batch: PackedBatch, chunk_frames: int | None) -> float:
    """Operations of one batch. chunk_frames: mel frames per chunk; None: full context."""
    longest = chunk_frames or model.encoder.max_mel_frames
    segments = [(piece + 1) // 2 for length in batch.speech.lengths for piece in cut(length, longest)]
    return step_flops(model, phase, Lengths(segments, batch.text.lengths, len(batch.text.label_places))).total


def recomputed_flops(model: SpeechLLM, phase: str, lengths: Lengths) -> float:
    """Operations that checkpointing adds: a second forward pass of each layer, without its last product.

    torch stops recomputing as soon as it has everything that the backward pass reads, which excludes a layer's output.
    """
    encoder, family = model.encoder, model.llm_family
    shape = family.shape(model.causal_lm.config)
    heads = shape.heads * shape.head_dim
    layers, blocks = encoder.layers, family.layers(model.causal_lm)
    positions = sum(lengths.positions)
    attention = 4 * model.encoder.width * sum(frames**2 for frames in lengths.segments) * len(layers)
    per_frame = sum(_forward(layer, phase) - _last(encoder.last_linear(layer), phase) for layer in layers)
    if encoder_is_frozen(model, phase):
        attention = per_frame = 0.0
    attention += 2 * heads * sum(n**2 for n in lengths.positions) * len(blocks)
    per_position = sum(_forward(block, phase) - _last(family.last_linear(block), phase) for block in blocks)
    return attention + lengths.frames * per_frame + positions * per_position


def _forward(layer: nn.Module, phase: str) -> float:
    """Operations of all products with weights, for one row of a layer's input."""
    total = 0.0
    for module in layer.modules():
        if isinstance(module, LoraLinear) and phase == "sft":
            total += 2 * module.rank * (module.base.in_features + module.base.out_features)
        elif isinstance(module, nn.Linear):
            total += 2 * module.weight.numel()
    return total


def _last(module: nn.Module, phase: str) -> float:
    """Operations of a linear layer's last product for one row; with LoRA, the product with B."""
    if isinstance(module, LoraLinear):
        return 2 * module.rank * module.base.out_features if phase == "sft" else 2 * module.base.weight.numel()
    factors = getattr(module, "lora_B", {})
    return 2 * next(iter(factors.values())).weight.numel() if factors else 2 * module.weight.numel()


def _linear_layers(layer: nn.Module, rows: int, passes: int) -> float:
    """Operations of all products of a layer with weights. LoRA factors are trained: three passes."""
    total = 0.0
    for module in layer.modules():
        if isinstance(module, LoraLinear):
            if passes == 3:  # no adapters in the alignment
                continue
            total += 3 * 2 * rows * module.rank * (module.base.in_features + module.base.out_features)
        elif isinstance(module, nn.Linear):
            adapts = module.weight.requires_grad and passes == 2  # in PEFT, A and B are linear layers
            total += (3 if adapts else passes) * 2 * rows * module.weight.numel()
    return total


def _projector_weights(model: SpeechLLM) -> int:
    """Number of weights that one LLM position is multiplied with; the convolutions' stride equals their kernel size."""
    return sum(parameter.numel() for parameter in model.projector.parameters() if parameter.ndim > 1)


def _base(module: nn.Module) -> nn.Linear:
    return module.base if isinstance(module, LoraLinear) else module
