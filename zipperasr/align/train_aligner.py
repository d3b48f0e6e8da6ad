"""Train an aligner, which finds the times of words, for a trained model.

The model is not changed. Speech and transcripts are those of its training sets, `minutes` per language; the aligner is
written to the model's directory. Run it in the recipe's directory, where the audio is found.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.cli import log, parser, run_step
from zipperasr.ranges import COUNT, POSITIVE, SHARE, check_ranges
from zipperasr.sole_writer import sole_writer

if TYPE_CHECKING:
    from zipperasr.align.aligner import Aligner
    from zipperasr.align.speech import Row


@dataclass(frozen=True)
class AlignerTraining:
    """One call of `zipperasr train-aligner`."""

    model: Path  # training directory
    manifest: Path = Path("dump/manifest")  # manifests of stage 3
    minutes: float = 8.0  # of speech per language
    epochs: int = 7
    hidden: int = 128
    kernel: int = 7
    prior: float = 0.5
    seed: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {"minutes": POSITIVE, "epochs": COUNT, "hidden": COUNT, "kernel": COUNT, "prior": SHARE})


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr train-aligner"
    default = AlignerTraining(Path())
    options.add_argument("--model", type=Path, required=True, help="training directory")
    options.add_argument("--manifest", type=Path, default=default.manifest, help="manifests of stage 3")
    options.add_argument("--minutes", type=float, default=default.minutes, help="minutes of speech per language")
    options.add_argument("--epochs", type=int, default=default.epochs, help="passes through that speech")
    options.add_argument("--hidden", type=int, default=default.hidden, help="width of the aligner")
    options.add_argument("--kernel", type=int, default=default.kernel, help="frames of 20 ms that it sees at once")
    options.add_argument("--prior", type=float, default=default.prior, help="weight of the prior of the blank, 0 to 1")
    options.add_argument("--seed", type=int, default=default.seed, help="random seed")
    values = vars(options.parse_args(argv))
    return run_step(lambda _: train_aligner(AlignerTraining(**values)), None, options.prog)


def train_aligner(job: AlignerTraining) -> None:
    """Draw speech of every language, train an aligner, and write it to the model's directory."""
    from zipperasr.align.speech import choose_rows
    from zipperasr.model.experiment import Experiment

    rows = choose_rows(job.manifest, Experiment.load(job.model).languages, job.minutes, job.seed)
    with sole_writer(job.model):
        _trained(job, rows).save(job.model)


def _trained(job: AlignerTraining, rows: dict[str, list[Row]]) -> Aligner:
    """Encode the speech and train the head."""
    import torch

    from zipperasr.align.aligner import Aligner, AlignerConfig
    from zipperasr.align.speech import known_characters, labelled
    from zipperasr.align.training import HeadTraining, train_head
    from zipperasr.model.experiment import weights_digest
    from zipperasr.model.experiment_model import load_model

    model = load_model(job.model).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(job.seed)
    aligner = Aligner(
        AlignerConfig(
            model=weights_digest(job.model),
            width=model.encoder.width,
            hidden=job.hidden,
            kernel=job.kernel,
            prior=job.prior,
            characters=known_characters(rows),
        )
    ).to(model.causal_lm.device)
    utterances = labelled(model, job.model, aligner, rows)
    weights = sum(parameter.numel() for parameter in aligner.parameters())
    log(f"{len(utterances)} utterances in {len(rows)} languages; {len(aligner.config.characters)} characters")
    log(f"training an aligner with {weights:,} weights")
    train_head(aligner, utterances, HeadTraining(epochs=job.epochs, seed=job.seed))
    return aligner


if __name__ == "__main__":
    sys.exit(main())
