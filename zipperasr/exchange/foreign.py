"""Open checkpoints of other tools as named tensors, without running any code in them.

In: safetensors, torch files, index files of shards, directories of DeepSpeed and PEFT. Out: {name: Entry}, whose
tensors are loaded on demand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from zipperasr.exchange.torch_file import read_torch_file
from zipperasr.model.backbone_files import INDEX_SUFFIX, check_index, read_json
from zipperasr.model.tensor_values import check_values

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
IN_A_DIRECTORY = (  # the first that exists is opened
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "model.safetensors",
    "pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
DEEPSPEED_LATEST, DEEPSPEED_STATES = "latest", "mp_rank_00_model_states.pt"


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint."""

    shape: tuple[int, ...]
    dtype: str  # torch's name, without `torch.`
    load: Callable[[], Tensor]  # raises ValueError unless the tensor is dense and finite


def open_checkpoint(path: str | Path) -> dict[str, Entry]:
    """List the tensors in `path` by name. Raises ValueError or OSError if it cannot be opened safely."""
    path = Path(path)
    return _open_directory(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> dict[str, Entry]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or directory")
    if path.name.endswith(INDEX_SUFFIX):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _open_torch(path)
    raise ValueError(
        f"{path}: unknown file type; wanted .safetensors, {', '.join(TORCH_SUFFIXES)}, *{INDEX_SUFFIX} or a directory"
    )


def _open_directory(directory: Path) -> dict[str, Entry]:
    for name in IN_A_DIRECTORY:
        if (directory / name).is_file():
            return open_checkpoint(directory / name)
    latest = directory / DEEPSPEED_LATEST
    step = _child(directory, latest.read_text(encoding="utf-8").strip(), latest) if latest.is_file() else directory
    if list(step.glob("zero_pp_rank_*_model_states.pt")):
        raise ValueError(
            f"{step}: ZeRO-3 shards every tensor; first combine them with DeepSpeed's zero_to_fp32.py in that directory"
        )
    if list(step.glob("mp_rank_01*_model_states.pt")):
        raise ValueError(f"{step}: split over several model-parallel ranks; save it from a single rank")
    if (step / DEEPSPEED_STATES).is_file():
        return _open_torch(step / DEEPSPEED_STATES)
    raise ValueError(
        f"{directory}: none of {', '.join((*IN_A_DIRECTORY, DEEPSPEED_STATES))}; give the path of the checkpoint file"
    )


def _open_shards(index: Path) -> dict[str, Entry]:
    check_index(index)
    places = read_json(index)["weight_map"]
    shards = {name: _open_file(index.parent / name) for name in sorted(set(places.values()))}
    for tensor, shard in places.items():
        if tensor not in shards[shard]:
            raise ValueError(f"{index}: {tensor} is not in {shard}; fetch both again")
    return {tensor: shards[shard][tensor] for tensor, shard in places.items()}


def _child(directory: Path, name: str, source: Path) -> Path:
    """Path of `name`, read from the file `source`. Raises ValueError unless it is directly in `directory`."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{source}: got {name!r}, wanted a name in the same directory; fetch the file again")
    return directory / name


def _open_safetensors(path: Path) -> dict[str, Entry]:
    def load(name: str) -> Tensor:
        with safe_open(path, framework="pt") as stream:
            return stream.get_tensor(name)

    try:
        with safe_open(path, framework="pt") as stream:
            slices = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118
            facts = {name: (tuple(part.get_shape()), _torch_name(part.get_dtype())) for name, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or not a safetensors file ({error}); fetch it again") from error
    return {name: Entry(*fact, _checked(path, name, load)) for name, fact in facts.items()}


def _open_torch(path: Path) -> dict[str, Entry]:
    def entry(name: str, tensor: Tensor) -> Entry:
        dtype = str(tensor.dtype).removeprefix("torch.")
        return Entry(tuple(tensor.shape), dtype, _checked(path, name, lambda _: tensor))

    return {name: entry(name, tensor) for name, tensor in read_torch_file(path).items()}


def _checked(path: Path, name: str, load: Callable[[str], Tensor]) -> Callable[[], Tensor]:
    def checked() -> Tensor:
        tensor = load(name)
        check_values(tensor, f"{path}: {name}")
        return tensor

    return checked


def _torch_name(dtype: str) -> str:
    """torch's name of a safetensors type: BF16 -> bfloat16."""
    kinds = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint"}
    kind = dtype.rstrip("0123456789")
    return {"BOOL": "bool"}.get(dtype) or f"{kinds.get(kind, kind)}{dtype[len(kind) :]}"
