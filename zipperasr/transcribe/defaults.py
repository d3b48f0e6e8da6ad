"""Defaults of `Transcriber`, shared with the options of the commands."""

from __future__ import annotations

from dataclasses import replace

from zipperasr.decode.decode_config import DecodeConfig

AUTO = "auto"  # in place of a language code: detect the language
# Vowelled Arabic needs 18 tokens of Qwen3 per second, and letters, the tokens of the mini LLM, 25.
DEFAULTS = DecodeConfig(retry_loops=True, tokens_per_s=25.0)
SERVED = replace(DEFAULTS, batch_size=32, batch_positions=8192)  # of `zipperasr serve`: 1.3 times the throughput
HINT_WEIGHT = 4.0  # mean cost in nats that a token of a hint may have, see zipperasr.decode.phrases
NO_HINTS = "hints need this project's own greedy search: beam=1, engine=own, a supported LLM"
