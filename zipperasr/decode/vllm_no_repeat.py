"""No n-gram twice, in vLLM: what greedy.py does with an utterance that ended in a loop and is decoded again.

vLLM imports this module by its name, in each of its processes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from zipperasr.decode.greedy import repeating
from zipperasr.decode.vllm_search import NO_REPEAT


class NoRepeat(AdapterLogitsProcessor):
    """Bans the tokens that would repeat an n-gram in the requests that name its size."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Callable[[list[int], Tensor], Tensor] | None:
        size = (params.extra_args or {}).get(NO_REPEAT)

        def without_repetition(tokens: list[int], logits: Tensor) -> Tensor:
            logits[repeating(tokens, size)] = -torch.inf
            return logits

        return without_repetition if size else None
