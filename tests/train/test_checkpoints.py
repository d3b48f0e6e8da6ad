"""Loading an untrusted checkpoint never runs code; an incomplete one is skipped."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests.audio.test_ark import Touch
from zipperasr.train.checkpoint_files import load_tensors
from zipperasr.train.checkpoints import CHECKSUMS, SavedCheckpoint


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, zipped):
    path = tmp_path / "mp_rank_00_model_states.pt"
    content = {"module": {"w": torch.ones(2)}, "client_state": Touch(tmp_path / "run")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"model_states\.pt: contains objects that a checkpoint does not need, .* remove"
    ):
        load_tensors(str(path))
    path.write_bytes(pickle.dumps(Touch(tmp_path / "run"), protocol=2))
    with pytest.raises(ValueError, match=r"model_states\.pt: contains objects that a checkpoint does not need"):
        load_tensors(str(path))
    assert not (tmp_path / "run").exists()


def test_deepspeeds_own_reader_would_run_it(tmp_path):
    """The reason for `load_tensors`, which can be removed once this fails."""
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    torch.save(Touch(tmp_path / "run"), tmp_path / "x.pt")
    TorchCheckpointEngine().load(str(tmp_path / "x.pt"))
    assert Path(tmp_path / "run").exists()


@pytest.mark.parametrize("dynamic", [True, False])
def test_checkpoints_that_deepspeed_writes_can_be_read(tmp_path, dynamic):
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    content = {
        "loss_scaler": DynamicLossScaler(2.0**7, 2.0, 5, 1.0, 2, False, torch.float16) if dynamic else LossScaler(8.0),
        "zero_stage": ZeroStageEnum.gradients,
        "param_slice_mappings": [{"w": fragment_address(numel=3, start=4)}],
        "partition_count": [2, 2],
    }
    torch.save(content, tmp_path / "x.pt")
    found = load_tensors(str(tmp_path / "x.pt"), map_location=torch.device("cpu"))
    assert found["loss_scaler"].__dict__ == content["loss_scaler"].__dict__
    assert found["zero_stage"] is ZeroStageEnum.gradients
    assert found["param_slice_mappings"] == content["param_slice_mappings"]


def write_checkpoint(directory: Path, step: int, world_size: int) -> Path:
    """Write a complete checkpoint whose files are not DeepSpeed's."""
    path = directory / f"step-{step}"
    path.mkdir(parents=True)
    files = {f"rank{rank}.pt": bytes([rank]) for rank in range(world_size)}
    for name, content in files.items():
        (path / name).write_bytes(content)
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    facts = {"world_size": world_size, "packs_per_step": 8, "trained": ["w"], "files": checksums}
    (path / CHECKSUMS).write_text(json.dumps(facts))
    return path


def test_a_checkpoint_without_the_file_of_a_rank_is_skipped(tmp_path, capsys):
    older, newer = (write_checkpoint(tmp_path, step, 4) for step in (9, 10))
    (newer / "rank3.pt").unlink()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        assert SavedCheckpoint.newest(tmp_path) == SavedCheckpoint(older, 9, 4, 8, ("w",))
        assert f"{newer}: rank3.pt is missing; skipped" in capsys.readouterr().err
        (older / CHECKSUMS).write_text("{")
        assert SavedCheckpoint.newest(tmp_path) is None
        assert f"{older}: no readable {CHECKSUMS}; skipped" in capsys.readouterr().err
    finally:
        distributed.destroy_process_group()
