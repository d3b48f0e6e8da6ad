"""Defaults of `Transcriber`, shared with the options of the commands."""

from __future__ import annotations

from dataclasses import replace

from zipperasr.decode.decode_config import DecodeConfig

AUTO = "auto"  # in place of a language code: detect the language
DEFAULTS = DecodeConfig(retry_loops=True)
SERVED = replace(DEFAULTS, batch_size=32, batch_positions=8192)  # of `zipperasr serve`: 1.3 times the throughput
HINT_WEIGHT = 4.0  # mean cost in nats that a token of a hint may have, see zipperasr.decode.phrases
