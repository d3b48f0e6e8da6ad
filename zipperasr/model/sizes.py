"""What configurations ask for, against what the weights beside them hold, before anything is built.

In: config.json of a backbone, config.yaml of a training, the headers of their weights. Out: nothing, or one line. A few
bytes of configuration could otherwise ask for more memory than there is, or for minutes of building.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import Qwen3Config, WhisperConfig

from zipperasr.model.weights_file import shapes
from zipperasr.yaml_text import shown

MOST_LAYERS, LARGEST_SIZE, MOST_PARAMETERS = 1000, 10_000_000, 10**12
SLACK, TIMES = 10_000_000, 4  # a Whisper's weights may be its encoder's alone; what is missing is named later
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # that transformers reads
_KEYS = {
    "whisper": (
        WhisperConfig, "d_model", "encoder_layers", "encoder_ffn_dim", "encoder_attention_heads", "decoder_layers",
        "decoder_ffn_dim", "decoder_attention_heads", "vocab_size", "num_mel_bins", "max_source_positions",
        "max_target_positions",
    ),
    "qwen3": (
        Qwen3Config, "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
        "num_key_value_heads", "head_dim", "vocab_size",
    ),
}  # fmt: skip


def check_backbone_size(config: Mapping[str, object], config_file: Path, model_type: str) -> dict[str, int]:
    """The sizes that config.json says, by key; what it does not say is transformers' default.

    Raises ValueError if one makes no sense, or together they make a model that the weights cannot fill.
    """
    config_class, *keys = _KEYS[model_type]
    defaults, synonyms = config_class(), {name: key for key, name in config_class.attribute_map.items()}
    sizes = {}
    for key in keys:
        given = [config[name] for name in (key, synonyms.get(key)) if config.get(name) is not None]
        for value in given:
            most = MOST_LAYERS if key.endswith("layers") else LARGEST_SIZE
            least = 0 if key.endswith("layers") else 1
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(
                    f"{config_file}: {key}: got {shown(value)}, wanted a whole number from {least} to {most:,}"
                )
        sizes[key] = max(given, default=getattr(defaults, key))
    wanted = _PARAMETERS[model_type](sizes)
    held = _held(config_file.parent)
    if wanted > (MOST_PARAMETERS if held is None else TIMES * held + SLACK):
        what = f"at most {MOST_PARAMETERS:,} are built" if held is None else f"the weights beside it hold {held:,}"
        raise ValueError(f"{config_file}: its sizes make {wanted:,} parameters, but {what}; fetch the model again")
    return sizes


def _held(directory: Path) -> int | None:
    """At most so many parameters are in a backbone's files; None where there are none (yet)."""
    files = [path for pattern in _WEIGHTS for path in sorted(directory.glob(pattern))]
    return sum(_count(path) for path in files) if files else None


def _count(path: Path) -> int:
    if path.suffix != ".safetensors":
        return path.stat().st_size
    return sum(size for _, size in shapes(path).values())


def _whisper_parameters(size: Mapping[str, int]) -> int:
    """The matrices of encoder and decoder."""
    width, decoder = size["d_model"], size["decoder_layers"]
    layers = size["encoder_layers"] * (4 * width + 2 * size["encoder_ffn_dim"])
    layers += decoder * (8 * width + 2 * size["decoder_ffn_dim"])
    convolutions = 3 * (size["num_mel_bins"] + width)
    return width * (
        layers + convolutions + size["max_source_positions"] + size["max_target_positions"] + size["vocab_size"]
    )


def _qwen3_parameters(size: Mapping[str, int]) -> int:
    heads = 2 * size["head_dim"] * (size["num_attention_heads"] + size["num_key_value_heads"])
    layers = size["num_hidden_layers"] * (heads + 3 * size["intermediate_size"])
    return size["hidden_size"] * (layers + size["vocab_size"])


_PARAMETERS = {"whisper": _whisper_parameters, "qwen3": _qwen3_parameters}
