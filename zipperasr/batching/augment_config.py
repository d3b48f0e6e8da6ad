"""Settings of augmentation: the key `augment` of align.yaml and sft.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from zipperasr.audio.spec_augment import MaskSizes
from zipperasr.cli import nearest
from zipperasr.ranges import NOT_NEGATIVE, SHARE, Range, check_ranges

NOISES = ("white", "pink")  # kinds that `noise` of audio/augment.py makes
RANGES = {
    **dict.fromkeys(("reverb", "noise", "telephone", "spec", "time_share"), SHARE),
    **dict.fromkeys(("freq_width", "time_width"), NOT_NEGATIVE),
    **dict.fromkeys(("freq_masks", "time_masks"), Range(0, 20)),
    "speed": Range(0.5, 2.0),
    "rt60_s": Range(0.05, 3.0),
    "direct_db": Range(-20, 40),
    "snr_db": Range(-20, 60),
}
BOUNDS = ("rt60_s", "direct_db", "snr_db")
MOST_SPEEDS = 20


@dataclass(frozen=True)
class AugmentConfig:
    """How training utterances are augmented, in this order. The paper has none: off by default.

    Dev and test sets never are. Masks of SpecAugment: the defaults are the paper's policy SS, with mel bins of 80.
    """

    speed: tuple[float, ...] = ()  # factors, drawn equally often, such as [0.9, 1.0, 1.1]
    reverb: float = 0.0  # share of the utterances with reverberation
    rir_list: str | None = None  # recorded room impulse responses; null: generated ones
    rt60_s: tuple[float, ...] = (0.2, 0.8)  # of generated responses: lowest and highest reverberation time
    direct_db: tuple[float, ...] = (0.0, 10.0)  # and energy of the direct sound relative to the reverberation
    noise: float = 0.0  # share of the utterances with noise
    noise_list: str | None = None  # recordings of noise; null: generated noise
    noise_kinds: tuple[str, ...] = NOISES  # of generated noise
    snr_db: tuple[float, ...] = (5.0, 30.0)  # lowest and highest power of the speech relative to the noise
    telephone: float = 0.0  # share of the utterances with 8 kHz sampling and mu-law
    spec: float = 0.0  # share of the utterances with SpecAugment's masks
    freq_masks: int = 2  # number of masks
    freq_width: int = 27  # largest width in mel bins
    time_masks: int = 2
    time_width: int = 70  # in frames of 10 ms
    time_share: float = 0.2  # a time mask covers at most this share of an utterance

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        for name in BOUNDS:
            bounds = getattr(self, name)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ValueError(f"{name}: got {list(bounds)}, wanted the lowest and the highest value")
        if len(self.speed) > MOST_SPEEDS:
            raise ValueError(f"speed: got {len(self.speed)} factors, wanted at most {MOST_SPEEDS}")
        for kind in self.noise_kinds:
            if kind not in NOISES:
                raise ValueError(f"noise_kinds: unknown value {kind!r}; {nearest(kind, NOISES)}")
        if not self.noise_kinds:
            raise ValueError(f"noise_kinds: got none, wanted one or more of {', '.join(NOISES)}")
        for name in ("rir_list", "noise_list"):
            if getattr(self, name) == "":
                raise ValueError(f"{name}: got an empty path, wanted that of a list, or null")

    @property
    def speeds(self) -> tuple[float, ...]:
        """The factors to draw from; () if none changes anything."""
        return self.speed if any(factor != 1 for factor in self.speed) else ()

    @property
    def active(self) -> bool:
        """Whether anything is augmented."""
        return bool(self.speeds) or any((self.reverb, self.noise, self.telephone, self.spec))

    @property
    def lists(self) -> dict[str, str]:
        """The lists of recordings that are used, by key."""
        used = {"rir_list": self.reverb, "noise_list": self.noise}
        return {name: path for name, share in used.items() if share and (path := getattr(self, name))}

    @property
    def masks(self) -> MaskSizes:
        return MaskSizes(*(getattr(self, name) for name in MaskSizes._fields))

    def described(self) -> str:
        """One line for the log."""
        parts = [f"speed {', '.join(f'{factor:g}' for factor in self.speeds)}"] if self.speeds else []
        shares = {"reverb": self.rir_list, "noise": self.noise_list, "telephone": None, "spec": None}
        for name, source in shares.items():
            if share := getattr(self, name):
                parts.append(f"{name} {share:g}" + (f" ({source})" if source else ""))
        return f"augmentation: {'; '.join(parts) or 'none'}"
