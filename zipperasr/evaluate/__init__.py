"""Evaluate a trained model on a list of utterances: error rates with intervals, and speed (`zipperasr evaluate`)."""
