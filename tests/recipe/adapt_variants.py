"""Run stages 6 and 7 of several variants in one process, because starting processes takes longer than their work.

Usage: python -m tests.recipe.adapt_variants SCALE VARIANT... (in a recipe directory after stages 0 to 5, with
dump_SCALE/small_manifest)
"""

from __future__ import annotations

import gc
import sys

from zipperasr.stages import decode as decoding
from zipperasr.stages import train as training


def main(scale: str, *variants: str) -> int:
    conf, exp, manifest = f"conf/{scale}", f"exp_{scale}", f"dump_{scale}/small_manifest"
    for lora in variants:
        out = f"{exp}/sft_{lora}_chunked"
        start = ["--phase", "sft", "--model", f"{conf}/model.yaml", "--config", f"{conf}/sft.yaml", "--lora", lora]
        start += ["--init", f"{exp}/align_chunked", "--lid", f"{exp}/lid", "--manifest", manifest, "--out", out]
        if training.main(start):
            return 1
        gc.collect()
        short = ["--lang", "de", "--set", "tokens_per_s=2", "tokens_floor=2"]
        if decoding.main(["--exp", out, "--config", f"{conf}/decode.yaml", "--manifest", manifest, *short]):
            return 1
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
