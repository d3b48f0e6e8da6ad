"""w2v-BERT 2.0's encoder, a Conformer, for ragged batches of segments of any length.

In: filter banks of all segments, end to end. Out: encoder frames, one for every two of the filter bank. Weights and
layers are those of transformers' Wav2Vec2BertModel, whose forward is not used: it needs padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

from zipperasr.audio.frontend import KALDI
from zipperasr.model import ragged
from zipperasr.model.backbone_files import load_backbone, transformers_errors
from zipperasr.model.backbones.speech_encoder import EncoderShape, SpeechEncoder
from zipperasr.model.sizes import SizeRules, Sizes

STACKED = 2  # frames of the filter bank that are one input of the encoder


def _parameters(size: Sizes) -> int:
    """Number of matrix parameters."""
    width = size["hidden_size"]
    layer = width * (4 * width + 4 * size["intermediate_size"] + 3 * width + size["conv_depthwise_kernel_size"])
    return size["num_hidden_layers"] * layer + width * size["feature_projection_input_dim"]


class W2vBertOnly(Wav2Vec2BertModel):
    """The encoder of a checkpoint, without the adapter and the output layer of fine-tuned ones."""

    _keys_to_ignore_on_load_unexpected = (
        r"^(wav2vec2_bert\.)?(adapter|intermediate_ffn)\.",
        r"^(wav2vec2_bert\.)?masked_spec_embed$",
        r"^lm_head\.",
    )

    def __init__(self, config: Wav2Vec2BertConfig):
        config.add_adapter = config.use_intermediate_ffn_before_adapter = False
        config.mask_time_prob = config.mask_feature_prob = 0.0
        super().__init__(config)


class W2vBertSpeechEncoder(SpeechEncoder):
    """w2v-BERT 2.0. Its tensors are named `encoder.w2v_bert.*`."""

    size_rules = SizeRules(
        Wav2Vec2BertConfig,
        (
            "hidden_size",
            "num_hidden_layers",
            "intermediate_size",
            "num_attention_heads",
            "feature_projection_input_dim",
            "conv_depthwise_kernel_size",
            "left_max_position_embeddings",
            "right_max_position_embeddings",
        ),
        _parameters,
    )
    module_name = "w2v_bert"
    feature_kind = KALDI
    # all linear layers of the Conformer blocks
    lora_targets = ("encoder.layers.*.self_attn.linear_*", "encoder.layers.*.ffn?.*_dense")

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> W2vBertSpeechEncoder:
        return cls(_supported(load_backbone(W2vBertOnly, path, dtype, cls.size_rules), path))

    @classmethod
    def empty(cls, path: str) -> W2vBertSpeechEncoder:
        with transformers_errors(path):
            return cls(_supported(W2vBertOnly(AutoConfig.from_pretrained(path, trust_remote_code=False)), path))

    @classmethod
    def whole_model(cls, path: str, state: Mapping[str, Tensor]) -> Wav2Vec2BertModel:
        model = Wav2Vec2BertModel(cls.load(path, torch.float32).w2v_bert.config)
        model.load_state_dict(state, strict=True)
        return model.eval()

    @classmethod
    def feature_extractor(cls, mel_bins: int) -> SeamlessM4TFeatureExtractor:
        return SeamlessM4TFeatureExtractor(feature_size=mel_bins, num_mel_bins=mel_bins)

    @classmethod
    def width_of(cls, sizes: Sizes) -> int:
        return sizes["hidden_size"]

    @classmethod
    def lora_inputs(cls, sizes: Sizes) -> tuple[int, int]:
        layers = sizes["num_hidden_layers"]
        return layers * (6 * sizes["hidden_size"] + 2 * sizes["intermediate_size"]), 8 * layers

    @property
    def shape(self) -> EncoderShape:
        """Both feed-forward networks and the convolution count as one feed-forward network."""
        config = self.w2v_bert.config
        inner = 2 * config.intermediate_size + 2 * config.hidden_size
        bins = config.feature_projection_input_dim // STACKED
        return EncoderShape(config.num_hidden_layers, config.hidden_size, inner, bins)

    @property
    def max_mel_frames(self) -> int:
        """30 s, as for Whisper; the relative positions of attention have no limit."""
        return 3000

    def num_frames(self, mel_frames: int) -> int:
        return -(-mel_frames // STACKED)

    @property
    def layers(self) -> Sequence[nn.Module]:
        return self.w2v_bert.encoder.layers

    def first_linears(self) -> list[nn.Module]:
        return [self.layers[0].ffn1.intermediate_dense]

    def last_linear(self, layer: nn.Module) -> nn.Module:
        return layer.ffn2.output_dense

    def weights_before_layers(self) -> int:
        return self.w2v_bert.feature_projection.projection.weight.numel()

    def _before_layers(self, mel: Tensor, lengths: Sequence[int], frames: Sequence[int]) -> Tensor:
        """Two frames of the filter bank become one; zeros fill an odd end."""
        features = self.w2v_bert.feature_projection
        spaced = ragged.spread(mel, lengths, [STACKED * count for count in frames])
        stacked = spaced.to(features.projection.weight.dtype).unflatten(0, (-1, STACKED)).flatten(1)
        return features.projection(features.layer_norm(stacked))

    @staticmethod
    def _layer_forward(layer: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
        """One Wav2Vec2BertEncoderLayer, a Conformer block (Gulati et al., 2020)."""
        hidden = hidden + 0.5 * _feed_forward(layer.ffn1, layer.ffn1_layer_norm(hidden))
        hidden = hidden + _attention(layer.self_attn, layer.self_attn_layer_norm(hidden), layout)
        hidden = hidden + _convolution(layer.conv_module, hidden, layout)
        hidden = hidden + 0.5 * _feed_forward(layer.ffn2, layer.ffn2_layer_norm(hidden))
        return layer.final_layer_norm(hidden)


def _supported(model: W2vBertOnly, path: str) -> W2vBertOnly:
    kind = model.config.position_embeddings_type
    if kind != "relative_key":
        raise ValueError(f"{path}: position_embeddings_type: got {kind!r}, wanted 'relative_key', as in w2v-BERT 2.0")
    return model


def _feed_forward(network: nn.Module, hidden: Tensor) -> Tensor:
    return network.output_dense(network.intermediate_act_fn(network.intermediate_dense(hidden)))


@torch.compiler.disable  # the lengths change with every batch
def _attention(attention: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
    """Attention within each segment, with relative positions (Shaw et al., 2018)."""
    heads = [
        projection(hidden).unflatten(-1, (attention.num_heads, -1))
        for projection in (attention.linear_q, attention.linear_k, attention.linear_v)
    ]
    sizes = [count * length for count, length in layout.runs]
    outputs = []
    for run, *parts in zip(layout.runs, *(tensor.split(sizes) for tensor in heads), strict=True):
        query, key, value = (part.unflatten(0, run).transpose(1, 2) for part in parts)  # (segments, heads, length, d)
        bias = _relative_scores(attention, query) * attention.scaling
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scaling)
        outputs.append(mixed.transpose(1, 2).flatten(0, 1))
    return attention.linear_out(torch.cat(outputs).flatten(1))


def _relative_scores(attention: nn.Module, query: Tensor) -> Tensor:
    """Products of each query with the embedding of its distance to each key: (segments, heads, length, length)."""
    left, right = attention.left_max_position_embeddings, attention.right_max_position_embeddings
    places = torch.arange(query.shape[2], device=query.device)
    distances = (places - places[:, None]).clamp(-left, right) + left
    products = query @ attention.distance_embedding.weight.to(query.dtype).T  # of every distance
    return products.gather(-1, distances.expand(*query.shape[:2], -1, -1))


@torch.compiler.disable  # the lengths change with every batch
def _convolution(module: nn.Module, hidden: Tensor, layout: ragged.Layout) -> Tensor:
    """Convolution module, causal within each segment: zeros separate the segments."""
    columns = module.layer_norm(hidden).T[None]
    gated = module.glu(module.pointwise_conv1(columns))[0].T
    before = module.depthwise_conv.kernel_size[0] - 1
    capacities = [length + before for length in layout.lengths]
    spaced = functional.pad(ragged.spread(gated, layout.lengths, capacities), (0, 0, before, 0))
    convolved = module.depthwise_conv(spaced.T[None])[0].T
    kept = convolved[ragged.slots(layout.lengths, capacities, hidden.device)]
    return module.pointwise_conv2(module.activation(module.depthwise_layer_norm(kept)).T[None])[0].T
