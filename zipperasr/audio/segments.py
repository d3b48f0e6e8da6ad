"""How an utterance is cut before encoding: whole, in 30 s windows, or in chunks. Arithmetic only.

In: mel frames of an utterance. Out: mel frames of its segments. The same functions count positions for packing.
"""

from __future__ import annotations

from collections.abc import Sequence

MEL_FRAMES_PER_S = 100
SAMPLES_PER_MEL_FRAME = 160
PROJECTOR_STRIDE = 4  # encoder frames per LLM position
EDGE_FRAMES = 3  # mel frames after the last of an utterance whose window of 25 ms still reaches into its audio


def mel_frames(num_samples: int) -> int:
    """Log-mel frames of 16 kHz audio; at least one."""
    return max(1, num_samples // SAMPLES_PER_MEL_FRAME)


def segment_frames(segment_s: float) -> int:
    """Mel frames of a chunk. Raises ValueError unless it is a positive, even number of them.

    Odd chunks would give more encoder frames than the utterance encoded whole.
    """
    frames = round(segment_s * MEL_FRAMES_PER_S)
    if frames < 2 or frames % 2:
        raise ValueError(f"chunk of {segment_s} s: wanted a positive multiple of {2 / MEL_FRAMES_PER_S} s")
    return frames


def cut(length: int, longest: int) -> list[int]:
    """Consecutive segments of at most `longest` mel frames, without overlap."""
    full, rest = divmod(length, longest)
    return [longest] * full + ([rest] if rest else [])


def cut_all(lengths: Sequence[int], longest: int) -> tuple[list[int], list[int]]:
    """The segments of all utterances in order, and how many each utterance has."""
    per_utterance = [cut(length, longest) for length in lengths]
    return [segment for segments in per_utterance for segment in segments], [len(s) for s in per_utterance]


def num_positions(num_samples: int) -> int:
    """LLM positions of an utterance's speech: 12.5 per second, rounded up. Equal for every way of cutting."""
    encoder_frames = (mel_frames(num_samples) + 1) // 2
    return -(-encoder_frames // PROJECTOR_STRIDE)
