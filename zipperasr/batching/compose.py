"""Compose training clips: join neighbouring utterances of a set, and add silence between and around them.

In: rows of a manifest. Out: fewer rows; each utterance is in exactly one of them, and is repeated as often as before.
Everything follows from the configuration and the ids. Packing, labels and resuming only see rows like any others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import pyarrow as pa

from zipperasr.audio.clips import BACKGROUND, ZERO, Silence, composed_entry
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import num_positions
from zipperasr.batching.clip_config import ClipConfig
from zipperasr.spacing import join_texts

Row = dict[str, Any]  # the columns of a manifest


@dataclass
class ClipCounts:
    """What has been composed so far."""

    utterances: int = 0  # of the training sets
    joined: int = 0  # utterances in clips of several
    clips: int = 0  # of several utterances
    edges: int = 0  # clips of one or several utterances with silence around them
    spoken: int = 0  # samples of the utterances
    silence: int = 0  # samples of silence added
    longest: int = 0  # samples of the longest composed clip

    def add(self, group: Sequence[Row], samples: int, has_edges: bool) -> None:
        """Count a clip of the utterances `group` with `samples` in all."""
        spoken, is_joined = sum(row["num_samples"] for row in group), len(group) > 1
        self.utterances += len(group)
        self.spoken += spoken
        self.silence += samples - spoken
        self.joined += len(group) * is_joined
        self.clips += is_joined
        self.edges += has_edges
        if is_joined or has_edges:
            self.longest = max(self.longest, samples)

    def __add__(self, other: ClipCounts) -> ClipCounts:
        """The counts of both."""
        sums = (mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        return replace(ClipCounts(*sums), longest=max(self.longest, other.longest))

    def described(self) -> str:
        added = self.silence / max(1, self.spoken)
        return (
            f"clips: {self.joined} of {self.utterances} training utterances joined into {self.clips}; silence around "
            f"{self.edges}; {added:.1%} more audio; longest {self.longest / SAMPLE_RATE:.1f} s"
        )


class Composer:
    """Composes the clips of training sets.

    Args:
        max_positions: capacity of a pack, into which every clip must fit.
        count_tokens: numbers of tokens of texts, end tokens included.
    """

    def __init__(self, config: ClipConfig, max_positions: int, count_tokens: Callable[[list[str]], Sequence[int]]):
        self.config, self.max_positions, self.counts = config, max_positions, ClipCounts()
        self._count_tokens = count_tokens

    def compose(self, block: pa.RecordBatch) -> pa.RecordBatch:
        """Return a block of a set's manifest with composed rows. No clip reaches beyond the block."""
        rows = block.to_pylist()
        rng = random.Random(f"clips {self.config.seed} {rows[0]['utt_id']}" if rows else 0)
        clips = [self._clip(group, rng) for group in self._groups(rows, rng)]
        return pa.RecordBatch.from_pylist(clips, schema=block.schema)

    def _groups(self, rows: list[Row], rng: random.Random) -> Iterator[list[Row]]:
        """Divide the rows into clips; the share of joined utterances is the configured one even in small sets."""
        start, owed = 0, -rng.random()  # utterances still to be joined
        while start < len(rows):
            size = self._num_joinable(rows, start, rng) if owed >= 0 and self.config.joined else 1
            owed += self.config.joined * size - (size if size > 1 else 0)
            yield rows[start : start + size]
            start += size

    def _num_joinable(self, rows: list[Row], start: int, rng: random.Random) -> int:
        """Number of utterances from `start` that make a clip of a random length; 1 if the next one does not fit."""
        first, size = rows[start], 1
        wanted = rng.uniform(0.5, 1.0) * self.config.longest_s * SAMPLE_RATE
        pause = int(self.config.pause_s[1] * SAMPLE_RATE)
        samples, tokens = first["num_samples"], first["num_tokens"]
        while samples < wanted and start + size < len(rows):
            row = rows[start + size]
            samples, tokens = samples + pause + row["num_samples"], tokens + row["num_tokens"]
            alike = row["language"] == first["language"] and row["repeat"] == first["repeat"]
            if not (alike and self._fits(first, samples, tokens)):
                break
            size += 1
        return size

    def _fits(self, row: Row, samples: int, tokens: int) -> bool:
        """Whether a clip with the prompt of `row` is short enough and fits into a pack.

        tokens: sum over the utterances; their end tokens are as many as the spaces between them and its end token.
        """
        positions = _num_prompt(row) + num_positions(samples) + tokens
        return samples <= self.config.longest_s * SAMPLE_RATE and positions <= self.max_positions

    def _clip(self, group: list[Row], rng: random.Random) -> Row:
        """The row of a clip, or the row itself if nothing is added to it."""
        kind = self._kind(rng)
        parts: list[str | Silence] = [group[0]["audio"]]
        for row in group[1:]:
            parts += [_silence(self.config.pause_s, kind, rng), row["audio"]]
        before, after = self._edges(group, _num_samples(parts, group), kind, rng)
        parts = [*before, *parts, *after]
        samples = _num_samples(parts, group)
        self.counts.add(group, samples, bool(before or after))
        if len(parts) == 1:
            return group[0]
        text = join_texts([row["text"] for row in group]) if len(group) > 1 else group[0]["text"]
        num_tokens = int(self._count_tokens([text])[0])
        return {
            **group[0],
            "utt_id": group[0]["utt_id"] + (f"+{len(group) - 1}" if len(group) > 1 else ""),
            "audio": composed_entry(parts),
            "text": text,
            "num_samples": samples,
            "num_tokens": num_tokens,
            "positions": _num_prompt(group[0]) + num_positions(samples) + num_tokens,
        }

    def _kind(self, rng: random.Random) -> str | float:
        drawn = rng.random()
        if drawn < self.config.zero:
            return ZERO
        if drawn < self.config.zero + self.config.background:
            return BACKGROUND
        return round(rng.uniform(*self.config.noise_db), 1)

    def _edges(
        self, group: Sequence[Row], samples: int, kind: str | float, rng: random.Random
    ) -> tuple[list[Silence], list[Silence]]:
        """Silence before and after a clip of `samples`; none for most clips, or if they would be too long."""
        sides = rng.choice(((1, 0), (0, 1), (1, 1))) if rng.random() < self.config.edges else (0, 0)
        edges = [[_silence(self.config.edge_s, kind, rng)] * side for side in sides]
        added = sum(silence.num_samples for edge in edges for silence in edge)
        if not self._fits(group[0], samples + added, sum(row["num_tokens"] for row in group)):
            return [], []
        return edges[0], edges[1]


def _silence(length_s: Sequence[float], kind: str | float, rng: random.Random) -> Silence:
    return Silence(int(rng.uniform(*length_s) * SAMPLE_RATE), kind)


def _num_samples(parts: Sequence[str | Silence], group: Sequence[Row]) -> int:
    silence = sum(part.num_samples for part in parts if isinstance(part, Silence))
    return silence + sum(row["num_samples"] for row in group)


def _num_prompt(row: Row) -> int:
    """Positions of the prompt."""
    return row["positions"] - num_positions(row["num_samples"]) - row["num_tokens"]
