"""Estimate the size, memory, steps and costs of an experiment, and list missing inputs, without loading weights."""
