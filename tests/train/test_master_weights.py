"""DeepSpeed's float32 master weights start from the loaded weights, not from their bf16 rounding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, torch
from pathlib import Path
from deepspeed.utils import safe_get_full_fp32_param
from tests.model import tiny
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.train.train_config import TrainConfig
from zipperasr.train.engine import float32_weights, make_engine, restore_master_weights, start_ranks

start_ranks()
config = tiny.model_config(Path(sys.argv[1]))
for precision, dtype, zero_stage in (("bf16", torch.bfloat16, 1), ("bf16", torch.bfloat16, 2)):
    experiment = Experiment("align", "chunked", None, None, tiny.CODES, 1, config)
    model = build_for_training(experiment, dtype, seed=1)
    exact = float32_weights(model)
    loaded = {parameter: value.clone() for parameter, value in exact.items()}
    make_engine(model, TrainConfig(epochs=1, precision=precision, zero_stage=zero_stage))
    rounded = any(not torch.equal(safe_get_full_fp32_param(p), value) for p, value in loaded.items())
    restore_master_weights(exact)
    wrong = sum(not torch.equal(safe_get_full_fp32_param(p), value) for p, value in loaded.items())
    cast = all(p.dtype == dtype for p in model.parameters())
    print("RESULT", precision, zero_stage, len(loaded) > 40, rounded, wrong, cast)
"""


def test_master_weights_equal_the_loaded_weights(tiny_recipe):
    command = [sys.executable, "-c", PROGRAM, str(tiny_recipe / "exp" / "backbones")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [line.split(maxsplit=3) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert [result[1:3] for result in results] == [["bf16", "1"], ["bf16", "2"]]
    for *_, facts in results:
        several, rounded_by_deepspeed, wrong, cast = facts.split()
        assert rounded_by_deepspeed == "True"  # if this fails, float32_weights is no longer needed
        assert (several, wrong, cast) == ("True", "0", "True")
