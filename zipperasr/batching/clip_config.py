"""Settings of composed training clips (conf/SCALE/clips.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipperasr.audio.clips import LONGEST_SILENCE
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.config import load_yaml
from zipperasr.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges

RANGES = {
    **dict.fromkeys(("joined", "edges", "zero", "background"), SHARE),
    **dict.fromkeys(("pause_s", "edge_s"), Range(0, LONGEST_SILENCE / SAMPLE_RATE)),
    "noise_db": Range(-120, 0),
    "longest_s": POSITIVE,
    "seed": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class ClipConfig:
    """How stage 3 composes training clips of utterances and silence. The paper has none: off by default."""

    joined: float = 0.0  # share of the utterances that are joined with the next ones of their set and language
    longest_s: float = 10.0  # longest composed clip; it must also fit into a pack
    pause_s: tuple[float, ...] = (0.2, 0.8)  # shortest and longest silence between joined utterances
    edges: float = 0.0  # share of the clips and utterances with silence before them, after them, or both
    edge_s: tuple[float, ...] = (0.1, 1.0)  # shortest and longest silence there
    zero: float = 0.3  # share of the clips whose silence is digital silence
    background: float = 0.3  # share of the clips whose silence sounds like the quietest part of the recording
    noise_db: tuple[float, ...] = (-75.0, -45.0)  # level of the white noise in all others, dB of full scale
    seed: int = 1  # random seed

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        for name in ("pause_s", "edge_s", "noise_db"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ValueError(f"{name}: got {list(bounds)}, wanted the lowest and the highest value")
        if (total := self.zero + self.background) > 1:
            raise ValueError(f"zero + background: got {total:g}, wanted at most 1: both are shares")

    @property
    def active(self) -> bool:
        """Whether there are composed clips at all."""
        return self.joined > 0 or self.edges > 0

    @classmethod
    def load(cls, path: Path | None) -> ClipConfig:
        """Read clips.yaml; without the file there are no composed clips."""
        return load_yaml(cls, path) if path is not None and path.is_file() else cls()
