"""The speech LLM: Whisper encoder, projector and LLM, with checkpoints and configuration."""
