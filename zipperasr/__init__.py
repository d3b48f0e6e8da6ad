"""Zipper-LoRA: multilingual speech recognition with a Whisper encoder, a projector and a Qwen3 LLM."""

__version__ = "0.1.0"
