"""Training: loop, optimiser, checkpoints, interruptions."""
