"""Check a backbone's directory and load its weights, strictly and in one precision.

In: a local directory or hub id. Out: a transformers model. The JSON files are checked before transformers reads them,
because they could make it run the author's Python code (`auto_map`), load a GPU kernel from a hub, or follow paths out
of the directory. transformers maps the weights into memory; weights of parts that a class omits are never read.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import cached_file, logging

from zipperasr.model.sizes import SizeRules, check_backbone_size
from zipperasr.model.tensor_values import check_finite
from zipperasr.model.weights_file import few, open_weights

M = TypeVar("M", bound=PreTrainedModel)

CONFIG, TOKENIZER, ADAPTER = "config.json", "tokenizer_config.json", "adapter_config.json"
INDEX_SUFFIX = ".index.json"
SHARD_SUFFIXES = (".safetensors", ".bin")
MAX_JSON_BYTES = 16 << 20
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def check_backbone(path: str, known: Sequence[SizeRules]) -> tuple[SizeRules, dict[str, int]]:
    """Check config.json and all other files that transformers will read; return the family's rules and the sizes.

    known: supported families, of which config.json's model_type selects one.
    Raises FileNotFoundError, OSError or ValueError.
    """
    check_local(path)
    config_file = _config_file(path)
    config = read_json(config_file)
    _refuse_code(config, config_file)
    rules = next((rules for rules in known if rules.model_type == config.get("model_type")), None)
    if rules is None:
        wanted = " or ".join(repr(rules.model_type) for rules in known)
        raise ValueError(f"{config_file}: got model_type {config.get('model_type')!r:.80}, wanted {wanted}")
    for key in (*_KERNELS, "quantization_config"):
        value = config.get(key)
        if value is not None and (key == "quantization_config" or not isinstance(value, str) or "/" in value):
            raise ValueError(f"{config_file}: {key} loads other software; remove it, or use the model as published")
    directory = config_file.parent
    if (directory / TOKENIZER).is_file():
        _refuse_code(read_json(directory / TOKENIZER), directory / TOKENIZER)
    if (directory / ADAPTER).exists():
        raise ValueError(
            f"{directory / ADAPTER}: got a PEFT adapter, wanted a complete model; merge the adapter into its base "
            "model and save the result"
        )
    for index in sorted(directory.glob(f"*{INDEX_SUFFIX}")):
        check_index(index)
    return rules, check_backbone_size(config, config_file, rules)


def _config_file(path: str) -> Path:
    try:
        return Path(cached_file(path, CONFIG))
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"{path}: not in the local cache, and not fetched ({reason:.200}); run `hf download {path}`"
        ) from error


def load_backbone(model_class: type[M], path: str, dtype: torch.dtype, rules: SizeRules) -> M:
    """Load a transformers model strictly. Raises FileNotFoundError, or ValueError naming tensors that do not fit."""
    check_backbone(path, [rules])
    logging.disable_progress_bar()  # loading is too fast for a progress bar
    safely = {"trust_remote_code": False, "weights_only": True}
    with transformers_errors(path):
        try:
            model, report = model_class.from_pretrained(
                path, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **safely
            )  # mismatched tensors are reported below, all at once
        except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
            _name_damage(path, error)
    heads = {"lm_head.weight", "proj_out.weight"}  # tied to the embedding: optional in the files
    wrong = {
        "missing": set(report["missing_keys"]) - heads,
        "unexpected": set(report["unexpected_keys"]) - heads,
        "misshapen": {str(key[0]) for key in report["mismatched_keys"]},
    }
    if any(wrong.values()):
        facts = "; ".join(f"{what} {few(sorted(names))}" for what, names in wrong.items())
        raise ValueError(f"{path}: weights do not fit {model_class.__name__}: {facts}")
    for name, parameter in model.named_parameters():  # tied ones once
        check_finite(parameter.detach(), f"{path}: {name}")
    return model


@contextmanager
def transformers_errors(path: str) -> Iterator[None]:
    """Turn any exception of transformers and tokenizers on unexpected settings into a ValueError naming the path."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # any type: transformers validates little, and tokenizers raises plain Exception
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: transformers cannot load it ({type(error).__name__}: {error!s:.200}); fetch the model again"
        ) from error


def check_local(path: str) -> None:
    """Raises FileNotFoundError if a path that looks local does not exist; transformers would look for it on a hub."""
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local and not (Path(path) / CONFIG).is_file():
        raise FileNotFoundError(
            f"{path}: no model found (config.json is missing); run stage 0, or give a model directory or hub id"
        )


def check_index(index: Path) -> None:
    """Raises ValueError if an index lists shards other than weight files in its own directory."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ValueError(f"{index}: weight_map is missing or not an object; fetch the file again")
    for name in shards.values():
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"{index}: got shard {name!r:.80}, wanted the name of a file in the same directory")
        if not name.endswith(SHARD_SUFFIXES):
            raise ValueError(f"{index}: got shard {name!r:.80}, wanted a {' or '.join(SHARD_SUFFIXES)} file")


def read_json(path: Path) -> dict:
    """Read a JSON object. Raises ValueError if the file contains anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES:,} bytes")
        tree = json.loads(path.read_bytes())
        if not isinstance(tree, dict):
            raise ValueError(f"got a JSON {type(tree).__name__}, wanted an object")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}); fetch it again") from error
    return tree


def _refuse_code(tree: dict, path: Path) -> None:
    if tree.get("auto_map"):
        raise ValueError(
            f"{path}: auto_map requests Python code that is shipped with the model, which is never run; use a model "
            "whose architecture is part of transformers"
        )


def _name_damage(path: str, error: Exception) -> NoReturn:
    """Raises ValueError naming the damaged file, unlike the error of transformers."""
    for file in sorted(Path(path).glob("*.safetensors")):
        with open_weights(file):
            pass
    damaged = isinstance(error, SafetensorError)
    what = "damaged safetensors files" if damaged else "pickled files that contain more than tensors"
    raise ValueError(f"{path}: {what}; fetch the model again as safetensors") from error
