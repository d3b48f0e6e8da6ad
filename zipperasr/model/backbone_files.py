"""What a backbone's directory may ask of transformers: weights and settings of its own, never code or files elsewhere.

In: a local directory or hub id. Out: nothing, or one line. The JSON files are checked before transformers sees them: it
would offer to run an author's Python (`auto_map`), load a GPU kernel from a hub, or follow paths out of the directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import cached_file

from zipperasr.model.sizes import check_backbone_size

CONFIG, TOKENIZER, ADAPTER = "config.json", "tokenizer_config.json", "adapter_config.json"
INDEX_SUFFIX = ".index.json"
SHARD_SUFFIXES = (".safetensors", ".bin")
MAX_JSON_BYTES = 16 << 20
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def check_backbone(path: str, model_type: str) -> dict[str, int]:
    """The sizes in its config.json, once they and all that transformers will read there have been found sound.

    model_type: whisper or qwen3. Raises FileNotFoundError, OSError or ValueError.
    """
    check_local(path)
    config_file = Path(cached_file(path, CONFIG))
    config = read_json(config_file)
    _refuse_code(config, config_file)
    if config.get("model_type") != model_type:
        raise ValueError(f"{config_file}: got model_type {config.get('model_type')!r:.80}, wanted {model_type!r}")
    for key in (*_KERNELS, "quantization_config"):
        value = config.get(key)
        if value is not None and (key == "quantization_config" or not isinstance(value, str) or "/" in value):
            raise ValueError(f"{config_file}: {key} loads other software; remove it, or use the model as published")
    directory = config_file.parent
    if (directory / TOKENIZER).is_file():
        _refuse_code(read_json(directory / TOKENIZER), directory / TOKENIZER)
    if (directory / ADAPTER).exists():
        raise ValueError(f"{directory / ADAPTER}: this is a PEFT adapter; wanted a whole model: merge it and save that")
    for index in sorted(directory.glob(f"*{INDEX_SUFFIX}")):
        check_index(index)
    return check_backbone_size(config, config_file, model_type)


@contextmanager
def said_by_transformers(path: str) -> Iterator[None]:
    """What transformers and tokenizers raise on settings that they do not expect becomes a ValueError with the path."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # they check little: any type of error can be the first to notice, tokenizers' is this
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: transformers cannot read it ({type(error).__name__}: {error!s:.200}); fetch the model again"
        ) from error


def check_local(path: str) -> None:
    """A path that looks local must exist, or transformers would ask a hub for it."""
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local and not (Path(path) / CONFIG).is_file():
        raise FileNotFoundError(f"{path}: no model here (config.json); run stage 0, or name a directory or hub id")


def check_index(index: Path) -> None:
    """Shards must be files beside their index. Raises ValueError."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{index}: no readable weight_map; fetch it again")
    for name in places.values():
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"{index}: names {name!r:.80}, which is not a plain name beside it")
        if not name.endswith(SHARD_SUFFIXES):
            raise ValueError(f"{index}: names {name!r:.80} as a shard; wanted {' or '.join(SHARD_SUFFIXES)}")


def read_json(path: Path) -> dict:
    """A JSON object. Raises ValueError if the file holds anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        tree = json.loads(path.read_bytes())
        if not isinstance(tree, dict):
            raise ValueError(f"a JSON {type(tree).__name__}, wanted an object")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable ({error}); fetch it again") from error
    return tree


def _refuse_code(tree: dict, path: Path) -> None:
    if tree.get("auto_map"):
        raise ValueError(
            f"{path}: auto_map asks for Python code that comes with the model; no such code is run: use a Whisper or "
            "Qwen3 in transformers' own form"
        )
