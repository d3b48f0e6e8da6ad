"""The speaker of an utterance id, for sclite's types of id (`-i`).

In: an id with its brackets, e.g. `(spk1-0001)`. Out: the speaker, e.g. `spk1`.
"""

from __future__ import annotations

from collections.abc import Callable


def before_hyphen(utt_id: bytes) -> bytes:
    """rm, swb, spu_id: the part before the first hyphen, else before the first underscore."""
    end = utt_id.find(b"-")
    end = utt_id.find(b"_") if end < 0 else end
    if end < 0:
        raise ValueError(
            f"no speaker in id {utt_id.decode('utf-8', errors='backslashreplace')!r}; wanted (speaker-utterance) or "
            "(speaker_utterance), or -i wsj or sp"
        )
    return utt_id[1:end]


def first_three(utt_id: bytes) -> bytes:
    """wsj: the first three bytes; of a shorter id also the closing bracket, as in sclite."""
    return utt_id[1:4]


def whole(utt_id: bytes) -> bytes:
    """sp: the whole id, with brackets; every utterance is a speaker."""
    return utt_id


ID_TYPES: dict[str, Callable[[bytes], bytes]] = {
    "rm": before_hyphen,
    "wsj": first_three,
    "swb": before_hyphen,
    "spu_id": before_hyphen,
    "sp": whole,
}
