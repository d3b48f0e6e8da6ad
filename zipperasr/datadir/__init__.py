"""Kaldi data directories: read, write, validate, edit; no audio is read."""
