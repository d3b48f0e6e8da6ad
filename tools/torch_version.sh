# shellcheck shell=bash
# Sourced by the installers: the version of torch, and whether this machine has a GPU.

# shellcheck disable=SC2034
torch_version=2.13.0

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; }
