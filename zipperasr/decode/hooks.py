"""What a decoding asks its caller while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zipperasr.batching.batch import Example
from zipperasr.decode.chunk_cache import ChunkCache
from zipperasr.decode.phrases import PhraseTrie
from zipperasr.decode.spotted import Spotter


def _nothing(*_: object) -> None:
    return None


def _false(_: Example) -> bool:
    return False


def _raise(_: Sequence[Example], error: Exception) -> None:
    raise error


@dataclass(frozen=True)
class Hooks:
    """Functions that `Decoder` calls; by default, they do nothing.

    `Decoder.run_live` calls encoded, phrases, mixture and cache in the thread that encodes.
    """

    # before each token of greedy search, or each batch of beam search; an exception ends the decoding
    check: Callable[[], None] = _nothing
    # with the examples that the encoder has just processed, part of a batch
    encoded: Callable[[Sequence[Example]], None] = _nothing
    # what the search prefers in an example, see `Decoder.takes_phrases`
    phrases: Callable[[Example], PhraseTrie | Spotter | None] = _nothing
    # weights of the languages of a batch, instead of its language
    mixture: Callable[[Sequence[Example]], Mapping[str, float] | None] = _nothing
    # encoder outputs of the beginning of an example, which grows
    cache: Callable[[Example], ChunkCache | None] = _nothing
    # with a batch of `run_live` or beam search that could not be encoded; others continue if this raises nothing
    failed: Callable[[Sequence[Example], Exception], None] = _raise
    # before each token or batch of `run_live`; True ends an example without a result
    is_dropped: Callable[[Example], bool] = _false
