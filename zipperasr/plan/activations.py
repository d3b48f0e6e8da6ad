"""Estimate the memory that autograd keeps between forward and backward pass, from the model's shapes.

In: a built model, the batch of one GPU. Out: `Activations`, in bytes. Attention is fused, so nothing grows with the
square of the length. The tensors of the model's forward pass are counted, except statistics and indices (a few per
cent). The tests compare the result with what autograd keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zipperasr.audio.segments import PROJECTOR_STRIDE
from zipperasr.model.backbones.causal_llm import LlmShape
from zipperasr.model.backbones.speech_encoder import EncoderShape
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.packed_llm import LABELS_AT_ONCE
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.flops import encoder_is_frozen
from zipperasr.plan.steps import AssumedSpeech

FLOAT32 = 4


@dataclass(frozen=True)
class MicroBatch:
    """The batch of one GPU in one micro-step."""

    packs: int
    max_positions: int  # of a pack
    speech_positions: float  # of all packs
    labels: float  # of all packs
    flash_attention: bool  # one call for all sequences

    @classmethod
    def assumed(cls, packs: int, config: ModelConfig, speech: AssumedSpeech, half: bool = True) -> MicroBatch:
        """A batch of full packs of typical utterances. half: half precision, for which there is FlashAttention."""
        seconds = packs * speech.pack_s(config.max_positions)
        return cls(
            packs=packs,
            max_positions=config.max_positions,
            speech_positions=seconds * speech.positions_per_s,
            labels=seconds * speech.labels_per_s,
            flash_attention=half,
        )

    @property
    def positions(self) -> int:
        return self.packs * self.max_positions

    @property
    def frames(self) -> float:
        return self.speech_positions * PROJECTOR_STRIDE


@dataclass(frozen=True)
class Activations:
    """Bytes of activations on one GPU."""

    kept: float  # from the forward pass to the backward pass
    logits: float  # at the start of the backward pass
    layer: float  # while the largest layer is being differentiated

    @property
    def peak(self) -> float:
        return self.kept + max(self.logits, self.layer)


def count_activations(
    model: SpeechLLM, config: ModelConfig, phase: str, batch: MicroBatch, value_bytes: int
) -> Activations:
    """Count the activations of one micro-step. model: of either phase, on any device.

    With checkpointing only a layer's input is kept, and one layer after the other is recomputed. Logits are in memory
    for `LABELS_AT_ONCE` labels at once, with three values per vocabulary entry.
    """
    encoder, llm = model.encoder.shape, model.llm_family.shape(model.causal_lm.config)
    rank = config.encoder_lora.rank if phase == "sft" else 0
    encoder_layer = batch.frames * encoder_layer_bytes(encoder, rank, batch.flash_attention, value_bytes)
    if encoder_is_frozen(model, phase):  # it keeps nothing
        encoder, encoder_layer = replace(encoder, layers=0, inner=0), 0.0
    llm_layer = batch.positions * llm_layer_bytes(llm, config.llm_lora.rank, batch.flash_attention, value_bytes)
    kept = _ends(model, phase, batch, value_bytes)
    if config.checkpointing:
        kept += batch.frames * encoder.width * value_bytes * encoder.layers
        kept += batch.positions * llm.width * value_bytes * llm.layers
        recomputed = (encoder_layer, llm_layer)
    else:
        kept += encoder_layer * encoder.layers + llm_layer * llm.layers
        recomputed = (0.0, 0.0)
    gradients = (  # of the widest tensors that are in memory at the same time
        batch.frames * 2 * encoder.inner * value_bytes,
        batch.positions * 3 * llm.inner * value_bytes,
    )
    return Activations(
        kept=kept,
        logits=min(batch.labels, LABELS_AT_ONCE) * 3 * llm.vocabulary * FLOAT32,
        layer=max(sum(pair) for pair in zip(recomputed, gradients, strict=True)),
    )


def encoder_layer_bytes(encoder: EncoderShape, rank: int, flash_attention: bool, value_bytes: int) -> float:
    """Bytes of one frame in one encoder layer: b (4 d + d t + 2 f + 6 r).

    b: bytes per value. d: width. t: tensors in attention. f: feed-forward width. r: rank (0 without LoRA). Both norms
    keep their input and output.
    """
    width, inner = encoder.width, encoder.inner
    return value_bytes * (4 * width + width * _attention_tensors(flash_attention) + 2 * inner + 6 * rank)


def llm_layer_bytes(llm: LlmShape, rank: int, flash_attention: bool, value_bytes: int) -> float:
    """Bytes of one position in one LLM layer: b (2 d + q t + 4 f + 7 r) + 4 (2 d + q + k).

    b: bytes per value. d: width. t: tensors in attention. f: feed-forward width. q, k: widths of queries and keys.
    r: rank. Keys and values are repeated for all query heads. The norms of the layer, of queries and of keys keep
    float32.
    """
    width, inner = llm.width, llm.inner
    query, key = (heads * llm.head_dim for heads in (llm.heads, llm.key_heads))
    halves = 2 * width + query * _attention_tensors(flash_attention) + 4 * inner + 7 * rank
    return value_bytes * halves + FLOAT32 * (2 * width + query + key)


def _attention_tensors(flash_attention: bool) -> int:
    """Number of tensors that attention keeps: queries, keys, values and output; without FlashAttention it is copied."""
    return 4 if flash_attention else 5


def _ends(model: SpeechLLM, phase: str, batch: MicroBatch, value_bytes: int) -> float:
    """Bytes kept outside the layers: convolutions, projector, the loss, the LLM's last norm."""
    encoder, llm = model.encoder.shape, model.llm_family.shape(model.causal_lm.config)
    per_frame = (1 if encoder_is_frozen(model, phase) else 3) * encoder.width
    if phase == "align":  # the convolutions are trained; each encoder frame has two mel frames
        per_frame += 2 * encoder.mel_bins + 5 * encoder.width
    per_speech_position = 6 * model.projector.linear.in_features + llm.width
    per_position = FLOAT32 * llm.width
    return (
        value_bytes * (batch.frames * per_frame + batch.speech_positions * per_speech_position)
        + value_bytes * batch.labels * llm.width  # the loss's gradient
        + batch.positions * per_position
    )
