"""Decoding of test sets: greedy and beam search."""
