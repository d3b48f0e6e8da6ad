"""The systems of the paper's matrix, and the call of run.sh that trains each of them.

In: a system's name, encoder regime, data setting and seed. Out: `Cell`, with its command and its directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zipperasr.lora import NO_LORA, VARIANTS

SOFT = "zipper_soft"


@dataclass(frozen=True)
class System:
    """A row of the tables: a variant, and what distinguishes it from plain training after the alignment."""

    lora: str
    options: tuple[str, ...] = ()  # of run.sh; SOFT: the plain soft run of the same regime, setting and seed
    settings: tuple[str, ...] = ()  # override conf/*/sft.yaml; TWICE: twice its epochs
    control: bool = False  # not in the paper; trained in the first regime and setting only

    @property
    def after_soft(self) -> bool:
        return "SOFT" in self.options

    @property
    def plain(self) -> bool:
        """True if --lora alone says what it is."""
        return not self.options and not self.settings


SYSTEMS = {
    **{variant: System(variant) for variant in VARIANTS},
    "initial_b": System(SOFT, ("--initial_b", "SOFT")),
    "initial_b_router": System(SOFT, ("--initial_b", "SOFT", "--initial_parts", "b router")),
    # What does adapting the encoder contribute?
    "no_encoder_lora": System(NO_LORA, control=True),
    # Initial-B has been trained twice as long. Controls: two schedules in a row, and one schedule of twice the length,
    # which also shows whether the others have converged.
    "restarted": System(SOFT, ("--initial_b", "SOFT", "--initial_parts", "all"), control=True),
    "twice": System(SOFT, settings=("epochs=TWICE",), control=True),
    "dense": System(SOFT, settings=("absent_language=dense",), control=True),
    # Do routers that hardly move from their initialisation need a larger learning rate? One run per routed variant.
    "router_lr_x10": System(SOFT, settings=("router_lr_factor=10",), control=True),
    "hard_router_lr_x10": System("zipper_hard", settings=("router_lr_factor=10",), control=True),
}


@dataclass(frozen=True)
class Cell:
    """One training."""

    system: str
    regime: str
    setting: str
    seed: int

    def command(self, epochs: int, exp: str, settings: Sequence[str] = ()) -> list[str]:
        """Return the call of run.sh that trains, decodes and scores it; `settings` apply to all systems."""
        system = SYSTEMS[self.system]
        own = [word.replace("TWICE", str(2 * epochs)) for word in system.settings]
        how = ["--lora", system.lora, "--tag", self._tag]
        how += [word.replace("SOFT", self.soft.directory(exp)) for word in system.options]
        how += ["--train_args", " ".join([*settings, *own])] if own or settings else []
        return ["./run.sh", "--stage", "6", "--stop-stage", "8", *self._where, *how]

    def scoring(self) -> list[str]:
        """Return the call of run.sh that only scores it."""
        how = ["--lora", SYSTEMS[self.system].lora, "--tag", self._tag, "--adaptation_only", "true"]
        return ["./run.sh", "--stage", "8", "--stop-stage", "8", *self._where, *how]

    def directory(self, exp: str) -> str:
        """Its training directory, as run.sh names it."""
        setting = "" if self.setting == "1h" else f"_{self.setting}"
        return f"{exp}/sft_{SYSTEMS[self.system].lora}_{self.regime}{setting}{self._tag}"

    @property
    def soft(self) -> Cell:
        """The plain soft run of the same regime, setting and seed."""
        return Cell(SOFT, self.regime, self.setting, self.seed)

    @property
    def name(self) -> str:
        return f"{self.system}_{self.regime}_{self.setting}_seed{self.seed}"

    @property
    def _where(self) -> list[str]:
        return ["--regime", self.regime, "--setting", self.setting, "--seed", str(self.seed)]

    @property
    def _tag(self) -> str:
        return f"_seed{self.seed}" if SYSTEMS[self.system].plain else f"_{self.system}_seed{self.seed}"
