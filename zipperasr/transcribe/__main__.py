"""Transcribe audio files with a trained model.

In: files, folders, wav.scp, or `-` for standard input; any codec that libsndfile reads, 1 to 384 kHz, up to 64
channels. Out: text on stdout, or a file each in --out; in the order of the input, each as soon as it is ready. A file
that cannot be decoded is named, the others are transcribed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.model.model_config import REGIMES
from zipperasr.transcribe.formats import FORMATS
from zipperasr.transcribe.sources import Recording, find_recordings
from zipperasr.transcribe.transcriber import AUTO, DEFAULTS, DTYPES, Transcriber
from zipperasr.transcribe.transcript import Transcript

PLAIN = ("txt",)  # formats that need the name in front where there are several recordings


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr transcribe"
    options.add_argument(
        "audio", nargs="+", metavar="FILE", help="audio file, folder, wav.scp, or - for standard input"
    )
    options.add_argument(
        "--model", type=Path, required=True, help="training directory, or a bundle of `zipperasr export`"
    )
    options.add_argument("--lang", default=AUTO, help="language code, or auto: Whisper detects it, per recording")
    options.add_argument("--format", choices=tuple(FORMATS), default="txt", help="of the output")
    options.add_argument("--out", type=Path, default=None, help="folder for a file per recording; default: stdout")
    options.add_argument("--regime", choices=REGIMES, default=None, help="default: the one the model was trained in")
    options.add_argument("--soft", action="store_true", help="auto: mix the languages' adapters by their probabilities")
    options.add_argument("--device", default=None, help="cpu or cuda; default: cuda where there is one")
    options.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of weights and activations")
    options.add_argument("--batch_size", type=int, default=DEFAULTS.batch_size, help="pieces decoded together, at most")
    options.add_argument(
        "--batch_positions", type=int, default=DEFAULTS.batch_positions, help="of these pieces together, at most"
    )
    options.add_argument("--tokens_per_s", type=float, default=DEFAULTS.tokens_per_s, help="most tokens per second")
    return run_step(transcribe, options.parse_args(argv), "zipperasr transcribe")


def transcribe(options: argparse.Namespace) -> None:
    """Raises ValueError at the end if some recordings could not be transcribed."""
    recordings = list(find_recordings(options.audio))
    outputs = _outputs(recordings, options)
    config = replace(
        DEFAULTS,
        batch_size=options.batch_size,
        batch_positions=options.batch_positions,
        tokens_per_s=options.tokens_per_s,
        precision=options.precision,
    )
    transcriber = Transcriber.from_pretrained(options.model, options.device, config, options.regime, options.soft)
    failed = 0
    found = transcriber.transcribe(recordings, options.lang)
    for recording, transcript in tqdm(found, total=len(recordings), unit="file", disable=len(recordings) < 2):
        if isinstance(transcript, Exception):
            failed += 1
            tqdm.write(f"zipperasr transcribe: error: {transcript}", file=sys.stderr)
            continue
        for note in transcript.notes:
            tqdm.write(f"{recording.id}: {note}", file=sys.stderr)
        _write(recording, transcript, outputs[recording.id], options.format, alone=len(recordings) == 1)
    if options.lang == AUTO and transcriber.has_detected:
        log(transcriber.detector.cost.described())
    if failed:
        raise ValueError(f"{failed} of {len(recordings)} recordings could not be transcribed; they are named above")


def _outputs(recordings: list[Recording], options: argparse.Namespace) -> dict[str, Path | None]:
    """Where each recording's transcript goes. Raises ValueError if two would go to one file."""
    if options.out is None:
        return {recording.id: None for recording in recordings}
    options.out.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for recording in recordings:
        stem = "stdin" if recording.id == "-" else Path(recording.id).stem
        if stem in names.values():
            raise ValueError(f"{recording.id}: another recording's transcript is {stem}.{options.format}; rename one")
        names[recording.id] = stem
    return {name: options.out / f"{stem}.{options.format}" for name, stem in names.items()}


def _write(recording: Recording, transcript: Transcript, path: Path | None, name: str, alone: bool) -> None:
    text = FORMATS[name](recording.id, transcript)
    if path is None:
        prefix = "" if alone or name not in PLAIN else f"{recording.id} "
        with tqdm.external_write_mode(file=sys.stdout) if not alone else nullcontext():
            print(prefix + text, end="", flush=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
