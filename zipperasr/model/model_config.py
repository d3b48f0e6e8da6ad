"""What a model is made of, as conf/*/model.yaml says it."""

from __future__ import annotations

from dataclasses import dataclass, field

from zipperasr.audio.segments import EDGE_FRAMES, segment_frames
from zipperasr.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges

REGIMES = ("chunked", "full")
LONGEST_CHUNK_S = 30.0  # Whisper has no positions beyond
RANGES = {
    **dict.fromkeys(("mel_bins", "projector_dim", "max_positions"), COUNT),
    **dict.fromkeys(("train_chunk_s", "decode_chunk_s"), Range(0, LONGEST_CHUNK_S, above=True)),
    "lid_window_s": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class LoraConfig:
    """One rank and scaling for all variants, on both sides."""

    rank: int = 32  # paper
    alpha: float = 64.0  # paper

    def __post_init__(self) -> None:
        check_ranges(self, {"rank": COUNT, "alpha": POSITIVE})


@dataclass(frozen=True)
class EncoderLoraConfig(LoraConfig):
    """The encoder's LoRA: settings that some of the variants have besides."""

    tau: float = 0.5  # zipper_hard: the router's threshold (not in the paper)
    p_selects_shared: bool = True  # zipper_hard: a high p takes the shared column (Eq. 13); False: the language's own
    router_affine: bool = False  # zipper_soft, zipper_hard: the router's LayerNorm has a gain and a bias, per layer
    fly_top_k: int | None = None  # flylora: ranks that a frame uses; none: a quarter of them (the paper's 8 of 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, {"tau": SHARE})
        if self.fly_top_k is not None and not 1 <= self.fly_top_k <= self.rank:
            raise ValueError(f"fly_top_k: got {self.fly_top_k}, wanted 1 to {self.rank} (the rank)")


@dataclass(frozen=True)
class ModelConfig:
    """Backbones, adapters and how the encoder sees an utterance."""

    whisper: str  # local directory or hub id of the Whisper model
    llm: str  # local directory or hub id of the Qwen3 model
    mel_bins: int = 128  # Whisper large-v3
    projector_dim: int | None = None  # width inside the projector; none: the LLM's width (not in the paper)
    encoder_lora: EncoderLoraConfig = field(default_factory=EncoderLoraConfig)
    llm_lora: LoraConfig = field(default_factory=LoraConfig)
    train_chunk_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # paper; one is drawn per step
    decode_chunk_s: float = 8.0  # paper
    lid_window_s: float = 30.0  # speech is padded to so much for language detection, as Whisper was trained; 0: not
    max_positions: int = 2048  # paper; longest pack: speech, text and prompt
    checkpointing: bool = False  # recompute activations in the backward pass
    pad_to_30s: bool = False  # pad every segment with silence, as Whisper was trained; its output is cut again

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        if not self.train_chunk_s:
            raise ValueError("train_chunk_s: got an empty list, wanted at least one chunk length in seconds")
        for chunk_s in (*self.train_chunk_s, self.decode_chunk_s):
            segment_frames(chunk_s)

    @property
    def edge_frames(self) -> int:
        """Mel frames that features have beyond the end of an utterance: where speech fades into the padding."""
        return EDGE_FRAMES if self.pad_to_30s else 0
