"""Whisper's encoder for ragged batches: segments of any length, padded to 30 s only on request.

In: log-mel frames of all segments, end to end. Out: encoder frames, one for every two mel frames. Weights and layers
are those of transformers' WhisperEncoder, whose forward is not used: it requires 3000 mel frames and has no mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel

from zipperasr.model import ragged
from zipperasr.model.backbone_files import load_backbone, transformers_errors
from zipperasr.model.backbones.speech_encoder import EncoderShape, SpeechEncoder
from zipperasr.model.sizes import SizeRules, Sizes


def _parameters(size: Sizes) -> int:
    """Number of matrix parameters of encoder and decoder."""
    width, decoder = size["d_model"], size["decoder_layers"]
    layers = size["encoder_layers"] * (4 * width + 2 * size["encoder_ffn_dim"])
    layers += decoder * (8 * width + 2 * size["decoder_ffn_dim"])
    convolutions = 3 * (size["num_mel_bins"] + width)
    return width * (
        layers + convolutions + size["max_source_positions"] + size["max_target_positions"] + size["vocab_size"]
    )


WHISPER_SIZES = SizeRules(
    WhisperConfig,
    (
        "d_model",
        "encoder_layers",
        "encoder_ffn_dim",
        "encoder_attention_heads",
        "decoder_layers",
        "decoder_ffn_dim",
        "decoder_attention_heads",
        "vocab_size",
        "num_mel_bins",
        "max_source_positions",
        "max_target_positions",
    ),
    _parameters,
)


class WhisperEncoderOnly(WhisperPreTrainedModel):
    """The encoder of a Whisper checkpoint: 637 of large-v3's 1,543 million parameters."""

    _keys_to_ignore_on_load_unexpected = (r"^(model\.)?decoder\.", r"^proj_out\.")

    def __init__(self, config: WhisperConfig):
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()


class WhisperSpeechEncoder(SpeechEncoder):
    """Whisper's encoder. Its tensors are named `encoder.whisper.*`."""

    size_rules = WHISPER_SIZES
    module_name = "whisper"
    lora_targets = ("layers.*.self_attn.*_proj", "layers.*.fc1", "layers.*.fc2")  # all linear layers
    never_trained = ("embed_positions.weight",)  # sinusoids
    whole_model_prefix = "encoder."

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> WhisperSpeechEncoder:
        return cls(load_backbone(WhisperEncoderOnly, path, dtype, WHISPER_SIZES).encoder)

    @classmethod
    def empty(cls, path: str) -> WhisperSpeechEncoder:
        with transformers_errors(path):
            return cls(WhisperEncoder(AutoConfig.from_pretrained(path, trust_remote_code=False)))

    @classmethod
    def whole_model(cls, path: str, state: Mapping[str, Tensor]) -> WhisperModel:
        """With the decoder at `path`, which the format requires; it was not trained with this encoder."""
        model = load_backbone(WhisperModel, path, torch.float32, WHISPER_SIZES)
        model.encoder.load_state_dict(state, strict=True)
        return model.eval()

    @classmethod
    def feature_extractor(cls, mel_bins: int) -> WhisperFeatureExtractor:
        return WhisperFeatureExtractor(feature_size=mel_bins)

    @classmethod
    def width_of(cls, sizes: Sizes) -> int:
        return sizes["d_model"]

    @classmethod
    def lora_inputs(cls, sizes: Sizes) -> tuple[int, int]:
        layers = sizes["encoder_layers"]
        return layers * (5 * sizes["d_model"] + sizes["encoder_ffn_dim"]), 6 * layers

    @property
    def shape(self) -> EncoderShape:
        config = self.whisper.config
        return EncoderShape(config.encoder_layers, config.d_model, config.encoder_ffn_dim, config.num_mel_bins)

    @property
    def max_mel_frames(self) -> int:
        """Mel frames of the longest segment, for which Whisper has position embeddings (30 s)."""
        return 2 * self.whisper.config.max_source_positions

    def num_frames(self, mel_frames: int) -> int:
        return (mel_frames + 1) // 2

    @property
    def layers(self) -> Sequence[nn.Module]:
        return self.whisper.layers

    def first_linears(self) -> list[nn.Module]:
        attention = self.whisper.layers[0].self_attn
        return [attention.q_proj, attention.k_proj, attention.v_proj]

    def last_linear(self, layer: nn.Module) -> nn.Module:
        return layer.fc2

    def weights_before_layers(self) -> int:
        """Two convolutions; the first sees two mel frames for each encoder frame."""
        return 2 * self.whisper.conv1.weight.numel() + self.whisper.conv2.weight.numel()

    def _before_layers(self, mel: Tensor, lengths: Sequence[int], frames: Sequence[int]) -> Tensor:
        hidden = self._convolve(mel.to(self.whisper.conv1.weight.dtype), lengths, frames)
        return hidden + self.whisper.embed_positions.weight[ragged.positions(frames, mel.device)]

    def _after_layers(self, hidden: Tensor) -> Tensor:
        return self.whisper.layer_norm(hidden)

    @staticmethod
    def _layer_forward(layer: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
        """One pre-norm WhisperEncoderLayer on ragged frames (n, d_model)."""
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(hidden)
        query, key, value = (
            projection(normed).unflatten(-1, (attention.num_heads, -1))
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        mixed = ragged.self_attention(query, key, value, layout, attention.scaling)
        hidden = hidden + attention.out_proj(mixed.flatten(1))
        normed = layer.final_layer_norm(hidden)
        return hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))

    def _convolve(self, mel: Tensor, lengths: Sequence[int], frames: Sequence[int]) -> Tensor:
        """Apply both convolutions to all segments at once, separated by zeros.

        Each segment gets an even number of slots, at least one of them empty, so that the second convolution (stride 2)
        starts on the first frame of every segment and reads zeros beyond both ends, as with Whisper's own padding.
        """
        capacities = [2 * count + 2 for count in frames]
        spaced = ragged.spread(mel, lengths, capacities)
        inside = ragged.spread(mel.new_ones(len(mel), 1), lengths, capacities)
        hidden = functional.gelu(self.whisper.conv1(spaced.T[None]))
        hidden = functional.gelu(self.whisper.conv2(hidden * inside.T))[0].T
        return hidden[ragged.slots(frames, [capacity // 2 for capacity in capacities], mel.device)]
