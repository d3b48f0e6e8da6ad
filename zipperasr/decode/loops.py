"""Utterances that end in a loop: search again without it, or cut it after its first repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zipperasr.decode.greedy import Encoded
from zipperasr.output_faults import COMPRESSION, LOOP_TIMES, compression_ratio, cut_loop, longest_loop

SHORTEST_REPEAT = 4  # tokens; shorter n-grams may repeat even when an utterance is decoded again


class LoopGuard:
    """Args: to_text: the text of tokens. retries: search again, once; otherwise loops stay in the text."""

    def __init__(self, to_text: Callable[[Sequence[int]], str], retries: bool):
        self._to_text, self._retries = to_text, retries

    def again(self, found: Encoded) -> bool:
        """Prepare a search without the loop that this one ended in; True if there is one."""
        if not self._retries or found.no_repeat or not self._runs_in_circles(found):
            return False
        found.no_repeat = max(SHORTEST_REPEAT, longest_loop(found.tokens).size + 1)
        found.restart()
        return True

    def cut(self, found: Encoded) -> tuple[Sequence[int], str]:
        """Return the tokens, without a loop that is still there, and a note on it or on a text that was cut off."""
        if found.undefined:
            return found.tokens, f"cut off after {len(found.tokens)} tokens: the model's output is not a number"
        loop = longest_loop(found.tokens)
        if self._retries and loop.times >= LOOP_TIMES and self._runs_in_circles(found):
            return cut_loop(found.tokens, loop), "a loop, cut after its first repetition"
        if found.no_repeat:
            return found.tokens, "a loop, decoded again without repetition"
        if not found.ended:
            return found.tokens, f"cut off at {found.max_tokens} tokens, the limit for its audio"
        return found.tokens, ""

    def _runs_in_circles(self, found: Encoded) -> bool:
        """True for a loop up to the length limit; a shorter one may be speech, such as four times `no`."""
        if found.ended:
            return compression_ratio(self._to_text(found.tokens)) > COMPRESSION
        return longest_loop(found.tokens).times >= LOOP_TIMES
