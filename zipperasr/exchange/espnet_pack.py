"""ESPnet's packed form: a zip with meta.yaml, which espnet2.main_funcs.pack_funcs unpacks.

Out: meta.yaml. ESPnet's own inference cannot build this model: what ESPnet unpacks, zipperasr opens.
"""

from __future__ import annotations

import torch
import yaml

import zipperasr
from zipperasr.model.experiment import CONFIG, WEIGHTS


def meta_yaml() -> bytes:
    """Keys as `espnet2.bin.pack asr` gives them. Its time stamp is left out: equal models give equal archives."""
    meta = {
        "files": {"asr_model_file": WEIGHTS},
        "yaml_files": {"asr_train_config": CONFIG},
        "torch": str(torch.__version__),
        "zipperasr": zipperasr.__version__,
    }
    return yaml.safe_dump(meta, sort_keys=False).encode()
