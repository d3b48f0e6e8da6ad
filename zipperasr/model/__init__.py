"""The speech LLM: speech encoder, projector and LLM, with their configuration and checkpoints."""
