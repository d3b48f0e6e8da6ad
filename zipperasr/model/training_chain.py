"""The chain of trainings that a training started from, each checked against its weights.

In: a training directory. Out: (directory, `Experiment`) of this training and of those before it.
"""

from __future__ import annotations

from pathlib import Path

from zipperasr.model.experiment import CONFIG, WEIGHTS, Experiment, located
from zipperasr.model.training_sizes import check_training_size

LONGEST_CHAIN = 16  # trainings, each started from the next


def training_chain(directory: Path) -> list[tuple[Path, Experiment]]:
    """The training in `directory` and those it started from, newest first, each `located` on this machine.

    Raises ValueError if the chain is circular, or if a training's weights do not fit its configuration.
    """
    chain = [(directory, located(Experiment.load(directory), directory))]
    seen = {directory.resolve()}
    while source := chain[-1][1].source:
        last, directory = chain[-1][0], Path(source)
        if directory.resolve() in seen or len(chain) == LONGEST_CHAIN:
            raise ValueError(
                f"{last / CONFIG}: starts from {directory}: the chain of trainings is circular or longer than "
                f"{LONGEST_CHAIN}; correct init"
            )
        seen.add(directory.resolve())
        chain.append((directory, located(Experiment.load(directory), directory)))
    backbones = chain[-1][1].model
    for directory, experiment in chain:
        check_training_size(experiment, backbones, directory / WEIGHTS, str(directory / CONFIG))
    return chain
