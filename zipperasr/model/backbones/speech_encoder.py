"""Interface of pretrained speech encoders: modules that wrap transformers' weights.

The families are registered in `zipperasr.model.backbones`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import FeatureExtractionMixin, PreTrainedModel

from zipperasr.audio.frontend import LOG_MEL, Frontend
from zipperasr.model import ragged
from zipperasr.model.sizes import SizeRules, Sizes


@dataclass(frozen=True)
class EncoderShape:
    """Dimensions of an encoder of pre-norm transformer layers, for estimates."""

    layers: int
    width: int
    inner: int  # of the feed-forward network
    mel_bins: int


class LanguageSource(nn.Module, ABC):
    """Language embeddings and language detection, with the decoder that the encoder was pretrained with.

    Instances are modules with the weights of the whole pretrained model; the class methods read only what they need.
    """

    @classmethod
    @abstractmethod
    def load(cls, path: str, dtype: torch.dtype) -> LanguageSource:
        """Load the whole pretrained model, in evaluation mode."""

    @classmethod
    @abstractmethod
    def token_ids(cls, path: str, names: Sequence[str]) -> list[int | None]:
        """Id of each language's token; None if the pretrained model has no such token."""

    @classmethod
    @abstractmethod
    def token_embeddings(cls, path: str, ids: Sequence[int]) -> Tensor:
        """Rows of the decoder's token embedding: (languages, d_lid)."""

    @property
    @abstractmethod
    def mel_bins(self) -> int: ...

    @property
    @abstractmethod
    def max_mel_frames(self) -> int:
        """Mel frames of an utterance that are used; the rest is ignored."""

    @abstractmethod
    def state_embedding(self, token_id: int, mels: Sequence[Tensor], batch_size: int | None = None) -> Tensor:
        """Mean of the decoder's state at the language token over utterances: (d_lid,), on the CPU."""

    @abstractmethod
    def language_logits(self, mel: Tensor, ids: Tensor) -> Tensor:
        """Logits of the language tokens `ids` for one utterance, mel (frames, mel bins): (languages,), float32."""


class SpeechEncoder(nn.Module, ABC):
    """A speech encoder that encodes every segment of a ragged batch independently of the others.

    Args:
        pretrained: the module with the weights. It becomes the attribute `module_name`, so that tensors are called
            `encoder.<module_name>.*` in checkpoints.
        checkpointing: recompute each layer in the backward pass instead of keeping its activations.
        pad_to_30s: the caller pads every segment (`pad_segments`) before it is encoded.
    """

    size_rules: ClassVar[SizeRules]
    module_name: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]]  # shell patterns of layer names inside `pretrained`
    never_trained: ClassVar[tuple[str, ...]] = ()  # suffixes of parameter names that are frozen in every phase
    feature_kind: ClassVar[str] = LOG_MEL  # see frontend.py
    whole_model_prefix: ClassVar[str] = ""  # of the names of `pretrained`'s tensors in `whole_model`

    def __init__(self, pretrained: nn.Module, checkpointing: bool = False, pad_to_30s: bool = False):
        super().__init__()
        setattr(self, self.module_name, pretrained)
        self._run_layer = self._layer_forward
        self.checkpointing = checkpointing
        self.pad_to_30s = pad_to_30s

    @property
    def pretrained(self) -> nn.Module:
        """The module with the pretrained weights, which also gets the adapters."""
        return getattr(self, self.module_name)

    @classmethod
    @abstractmethod
    def load(cls, path: str, dtype: torch.dtype) -> SpeechEncoder:
        """Load the weights strictly. Raises FileNotFoundError or ValueError."""

    @classmethod
    @abstractmethod
    def empty(cls, path: str) -> SpeechEncoder:
        """Build the encoder from its configuration alone, on the default device."""

    @classmethod
    @abstractmethod
    def whole_model(cls, path: str, state: Mapping[str, Tensor]) -> PreTrainedModel:
        """The transformers model at `path`, in evaluation mode, with `state` as its encoder, for others to load.

        Its `save_pretrained` writes what `load` and transformers' from_pretrained read. Raises ValueError.
        """

    @classmethod
    @abstractmethod
    def feature_extractor(cls, mel_bins: int) -> FeatureExtractionMixin:
        """transformers' feature extractor, to save beside `whole_model`."""

    @property
    @abstractmethod
    def shape(self) -> EncoderShape: ...

    @property
    @abstractmethod
    def max_mel_frames(self) -> int:
        """Mel frames of the longest segment."""

    @abstractmethod
    def num_frames(self, mel_frames: int) -> int:
        """Output frames of a segment."""

    @abstractmethod
    def _before_layers(self, mel: Tensor, lengths: Sequence[int], frames: Sequence[int]) -> Tensor:
        """What precedes the layers, with the arguments of `forward`: (sum of frames, width)."""

    @staticmethod
    @abstractmethod
    def _layer_forward(layer: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
        """One layer on the frames of all segments: (sum of frames, width) -> the same shape."""

    def _after_layers(self, hidden: Tensor) -> Tensor:
        """What follows the layers."""
        return hidden

    def forward(
        self, mel: Tensor, lengths: Sequence[int], kept: Sequence[int] | None = None
    ) -> tuple[Tensor, list[int]]:
        """Encode segments that are concatenated in `mel`.

        mel: (sum of lengths, mel bins). lengths: mel frames of each segment. kept: leading mel frames of each segment
        whose output is returned; None: all. Returns the output (sum of frames, width) and the frames of each segment.
        Raises ValueError for an empty segment or one of more than max_mel_frames.
        """
        if min(lengths) < 1 or max(lengths) > self.max_mel_frames:
            raise ValueError(
                f"got segments of {min(lengths)} to {max(lengths)} mel frames, wanted 1 to {self.max_mel_frames}"
            )
        frames = [self.num_frames(length) for length in lengths]
        hidden = self._before_layers(mel, lengths, frames)
        layout = ragged.Layout(frames, mel.device)
        for layer in self.layers:
            if self.checkpointing and self.training:
                hidden = checkpoint(
                    self._run_layer, layer, hidden, layout, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden = self._run_layer(layer, hidden, layout)
        if kept is not None:
            capacities, frames = frames, [self.num_frames(length) for length in kept]
            hidden = hidden[ragged.slots(frames, capacities, mel.device)]
        return self._after_layers(hidden), frames

    def compile_layers(self, backend: str) -> None:
        """Compile the layers with torch.compile, except for what depends on the lengths of the segments."""
        self._run_layer = torch.compile(self._layer_forward, dynamic=True, backend=backend)

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers."""

    @abstractmethod
    def first_linears(self) -> Iterable[nn.Module]:
        """Adapted linear layers whose input does not depend on any adapter, so that no gradient passes through them."""

    @abstractmethod
    def last_linear(self, layer: nn.Module) -> nn.Module:
        """The last linear layer that a transformer layer computes."""

    @abstractmethod
    def weights_before_layers(self) -> int:
        """Number of weights that one output frame is multiplied with before the first layer."""

    @classmethod
    @abstractmethod
    def lora_inputs(cls, sizes: Sizes) -> tuple[int, int]:
        """(sum of the input widths of all LoRA targets, their number)."""

    @classmethod
    @abstractmethod
    def width_of(cls, sizes: Sizes) -> int:
        """The output width, from the sizes in config.json."""

    @property
    def width(self) -> int:
        return self.shape.width

    @property
    def mel_bins(self) -> int:
        return self.shape.mel_bins

    @property
    def frontend(self) -> Frontend:
        """Computes the encoder's features from audio."""
        return Frontend(self.mel_bins, self.feature_kind)
