"""A trained model and manifests of test sets, as stage 7 reads them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import soundfile

from tests.model import tiny
from zipperasr.batching.manifest import SCHEMA
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment

SIZES = {"de": 11, "es": 5, "ja": 2}  # test sets; batches of at most two utterances


def write_model_and_sets(base: Path, backbones: Path) -> Path:
    """Write align/ (a model with random weights), decode.yaml, the sets' audio and their manifests; returns `base`."""
    config = tiny.model_config(backbones, trim_silence=True)
    Experiment("align", "chunked", None, None, tiny.CODES, 1, config).save(base / "align")
    save_trained(tiny.align_model(config), base / "align" / "model.safetensors")
    (base / "decode.yaml").write_text("tokens_per_s: 20.0\ntokens_floor: 8\nbatch_size: 2\nretry_loops: true\n")
    for code, count in SIZES.items():
        rows = []
        for number in range(count):
            utt_id, num_samples = f"s-{code}{number:02d}", 3_200 + (number * 7_919) % 17_000
            audio = base / "audio" / f"{utt_id}.wav"
            audio.parent.mkdir(exist_ok=True)
            soundfile.write(audio, tiny.noise(num_samples, seed=number).numpy(), 16_000)
            row = {"utt_id": utt_id, "language": code, "audio": str(audio), "text": "ein", "repeat": 1}
            rows.append(row | {"num_samples": num_samples, "num_tokens": 4, "positions": 100 + num_samples // 1600})
        feather.write_feather(pa.Table.from_pylist(rows, SCHEMA), base / f"test_x_{code}.arrow")
    write_sets(base / "sets.tsv", [SetRow(f"test_x_{code}", "test", "align", "x", code) for code in SIZES])
    return base
