"""Fit the confidences of words to how often words are right, on dev sets.

Transcribes the dev sets of a recipe with a trained model, aligns the words with the references, and writes
confidence.json into the training directory, which `transcribe`, `serve` and bundles then use. Prints the area under the
ROC curve and the calibration error before and after, on the dev sets and on the test sets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zipperasr.cli import log, parser, run_step
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.set_table import read_sets
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.sole_writer import sole_writer
from zipperasr.transcribe.calibration import UNCHANGED, Calibration, calibration_error
from zipperasr.transcribe.sources import Recording

if TYPE_CHECKING:
    from zipperasr.transcribe.transcriber import Transcriber
    from zipperasr.transcribe.transcript import Transcript


class ScoredWords(NamedTuple):
    """Words of some utterances."""

    confidences: list[float]
    correct: list[bool]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr calibrate"
    options.add_argument("--model", type=Path, required=True, help="training directory")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="the data directories of stage 2")
    options.add_argument("--device", default=None, help="cpu or cuda; default: cuda if available")
    chosen = options.parse_args(argv)
    return run_step(lambda _: calibrate(chosen.model, chosen.raw, chosen.device), chosen, "zipperasr calibrate")


def calibrate(model: Path, raw: Path, device: str | None) -> None:
    """Write confidence.json. Raises ValueError if the model is no directory or its dev sets do not suffice."""
    from zipperasr.transcribe.transcriber import Transcriber

    if not model.is_dir():
        raise ValueError(f"{model}: wanted a training directory; unpack the bundle or calibrate before the export")
    with sole_writer(model):
        transcriber = Transcriber.from_pretrained(model, device)
        transcriber.calibration = UNCHANGED
        words = {kind: scored_words(transcriber, raw, kind) for kind in ("dev", "test")}
        fitted = Calibration.fit(*words["dev"])
        fitted.save(model, words=len(words["dev"].correct))
    for kind, (confidences, correct) in words.items():
        print(described(kind, confidences, correct, fitted))


def scored_words(transcriber: Transcriber, raw: Path, kind: str) -> ScoredWords:
    """Transcribe all sets of a kind in the model's languages, and find out which words are right."""
    found = ScoredWords([], [])
    for row in read_sets(raw / "sets.tsv"):
        if row.kind != kind:
            continue
        references, languages = (read_table(raw / row.set / name) for name in ("text", "utt2lang"))
        for lang in sorted(set(languages.values()) & set(transcriber.languages.codes)):
            entries = read_table(raw / row.set / "wav.scp")
            recordings = [Recording(utt, entries[utt]) for utt in entries if languages[utt] == lang]
            log(f"{row.set}: {len(recordings)} utterances")
            for recording, transcript in transcriber.transcribe(recordings, lang):
                if isinstance(transcript, Exception):
                    raise transcript
                for confidence, is_correct in _scored(transcript, references[recording.id], transcriber):
                    found.confidences.append(confidence)
                    found.correct.append(is_correct)
    return found


def _scored(transcript: Transcript, reference: str, transcriber: Transcriber) -> Iterator[tuple[float, bool]]:
    """The confidence of each word that normalisation keeps, and whether all of its units are right."""
    language = transcriber.languages[transcript.lang]
    clean = normaliser(language.normaliser)
    words = [word for segment in transcript.segments for word in segment.words]
    units = [split_units(clean(word.text), language.unit) for word in words]
    pair = (split_units(clean(reference), language.unit), [unit for some in units for unit in some])
    marks = iter(align_all([pair])[0].replace("D", ""))
    for word, some in zip(words, units, strict=True):
        if some and word.confidence is not None:
            yield word.confidence, {next(marks) for _ in some} == {"C"}


def described(kind: str, confidences: list[float], correct: list[bool], fitted: Calibration) -> str:
    """One line of output."""
    from sklearn.metrics import roc_auc_score

    area = roc_auc_score(correct, confidences) if len(set(correct)) == 2 else float("nan")
    before, after = (calibration_error(some, correct) for some in (confidences, [*map(fitted, confidences)]))
    right = 100 * sum(correct) / max(1, len(correct))
    return (
        f"{kind}: {len(correct)} words, {right:.1f} % right, area under the ROC curve "
        f"{area:.3f}, calibration error {before:.3f} before, {after:.3f} after"
    )


if __name__ == "__main__":
    sys.exit(main())
