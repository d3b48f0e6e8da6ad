"""Defaults of `Transcriber`, shared with the options of the commands."""

from __future__ import annotations

from zipperasr.decode.decode_config import DecodeConfig

AUTO = "auto"  # in place of a language code: detect the language
DEFAULTS = DecodeConfig(retry_loops=True)
HINT_WEIGHT = 4.0  # mean cost in nats that a token of a hint may have, see zipperasr.decode.phrases
