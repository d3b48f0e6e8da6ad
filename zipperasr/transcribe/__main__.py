"""Transcribe audio files with a trained model.

Reads files, folders, wav.scp, or `-` for standard input; any codec that libsndfile supports, 1 to 384 kHz, up to 64
channels. Writes to stdout, or one file per recording to --out, in the order of the input and as soon as each is ready.
Files that cannot be decoded are reported and skipped; the exit status is then 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from zipperasr.atomic import atomic_path
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import REGIMES
from zipperasr.cli import log, parser, run_step
from zipperasr.decode.phrases import Phrase
from zipperasr.transcribe.defaults import AUTO, DEFAULTS, HINT_WEIGHT, NO_HINTS
from zipperasr.transcribe.formats import BY_WORD, FORMATS
from zipperasr.transcribe.hints import read_hints
from zipperasr.transcribe.options import add_decoding, add_model, add_nbest, decoding_of
from zipperasr.transcribe.sources import Recording, find_recordings
from zipperasr.transcribe.stream_command import check_stream_options, transcribe_stream
from zipperasr.transcribe.voice import DETECTORS, ENERGY

if TYPE_CHECKING:
    from zipperasr.transcribe.transcriber import Transcriber

NOT_OF_STREAMS = ("out", "soft", "words", "hints")  # options of whole recordings only
PLAIN = ("txt",)  # formats that start with the name if there are several recordings


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr transcribe"
    options.add_argument(
        "audio", nargs="+", metavar="FILE", help="audio file, folder, wav.scp, or - for standard input"
    )
    add_model(options)
    options.add_argument("--lang", default=AUTO, help="language code, or auto to detect it for each recording")
    options.add_argument("--format", choices=tuple(FORMATS | BY_WORD), default="txt", help="output format")
    options.add_argument(
        "--out", type=Path, default=None, help="output folder, one file per recording; default: stdout"
    )
    options.add_argument(
        "--words", action="store_true", help="times of words, with the aligner of `zipperasr train-aligner`"
    )
    options.add_argument("--regime", choices=REGIMES, default=None, help="encoder attention; default: as in training")
    options.add_argument(
        "--soft", action="store_true", help="with auto: average the adapters by the language probabilities"
    )
    options.add_argument("--vad", choices=DETECTORS, default=ENERGY, help="voice detector")
    options.add_argument(
        "--stream",
        action="store_true",
        help="transcribe while samples arrive; FILE: - (raw 16-bit mono) or microphone",
    )
    options.add_argument("--rate", type=int, default=SAMPLE_RATE, help="sampling rate of - with --stream, in Hz")
    add_decoding(options, DEFAULTS)
    add_nbest(options, DEFAULTS)
    options.add_argument(
        "--hints", type=Path, default=None, help="file of names and terms, one per line; works better with an aligner"
    )
    options.add_argument(
        "--hint_weight", type=float, default=HINT_WEIGHT, help="weight of hints that have none of their own after a tab"
    )
    chosen = options.parse_args(argv)

    def step(_: object) -> None:
        from zipperasr.transcribe.transcriber import Transcriber

        config = decoding_of(chosen, DEFAULTS)
        if config.nbest > 1 and chosen.format != "json":
            raise ValueError(f"--nbest {config.nbest} needs --format json; {chosen.format} has one text")
        hints = () if chosen.hints is None else read_hints(chosen.hints, chosen.hint_weight)
        if hints and config.engine == "vllm":
            raise ValueError(f"--hints {chosen.hints}: {NO_HINTS}")
        opening = {"device": chosen.device, "config": config, "regime": chosen.regime, "soft": chosen.soft}
        load = partial(Transcriber.from_pretrained, chosen.model, **opening, vad=chosen.vad, words=chosen.words)
        log(f"voice detector: {chosen.vad}")
        if chosen.stream:
            others = [f"--{name}" for name in NOT_OF_STREAMS if getattr(chosen, name)]
            check_stream_options(chosen.audio, chosen.lang, chosen.format, chosen.rate, others)
            transcribe_stream(load(), chosen.audio[0], lang=chosen.lang, form=chosen.format, rate=chosen.rate)
            return
        if chosen.format not in FORMATS and not chosen.words:
            raise ValueError(f"--format {chosen.format} needs the times of words; add --words")
        transcribe(chosen.audio, load, lang=chosen.lang, form=chosen.format, out=chosen.out, hints=hints)

    return run_step(step, chosen, "zipperasr transcribe")


def transcribe(
    names: Sequence[str],
    load: Callable[[], Transcriber],
    *,
    lang: str = AUTO,
    form: str = "txt",
    out: Path | None,
    hints: tuple[Phrase, ...] = (),
) -> None:
    """Transcribe files and folders to stdout or to `out`. Raises ValueError at the end if some recordings failed.

    load: opens the model; called once the names have been checked. form: one of `FORMATS`, or of `BY_WORD` if the model
    is loaded with its aligner.
    """
    recordings = [replace(recording, hints=hints) for recording in find_recordings(names)]
    outputs = _outputs(recordings, out, form)
    transcriber = load()
    failed = 0
    found = transcriber.transcribe(recordings, lang)
    for recording, transcript in tqdm(found, total=len(recordings), unit="file", disable=len(recordings) < 2):
        if isinstance(transcript, Exception):
            failed += 1
            tqdm.write(f"zipperasr transcribe: error: {transcript}", file=sys.stderr)
            continue
        for note in transcript.notes:
            tqdm.write(f"{recording.id}: {note}", file=sys.stderr)
        formats = FORMATS if transcriber.aligner is None else FORMATS | BY_WORD
        text = formats[form](recording.id, transcript)
        _write(recording, text, outputs[recording.id], form, alone=len(recordings) == 1)
    if lang == AUTO and transcriber.has_detected:
        log(transcriber.detector.cost.described())
    if failed:
        raise ValueError(f"{failed} of {len(recordings)} recordings could not be transcribed; see the errors above")


def _outputs(recordings: Sequence[Recording], out: Path | None, form: str) -> dict[str, Path | None]:
    """Output file of each recording. Raises ValueError if two recordings have the same one."""
    if out is None:
        return {recording.id: None for recording in recordings}
    out.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for recording in recordings:
        stem = "stdin" if recording.id == "-" else Path(recording.id).stem
        if stem in names.values():
            raise ValueError(
                f"{recording.id}: the transcript of another recording is {stem}.{form}; rename one of them"
            )
        names[recording.id] = stem
    return {name: out / f"{stem}.{form}" for name, stem in names.items()}


def _write(recording: Recording, text: str, path: Path | None, name: str, alone: bool) -> None:
    if path is None:
        prefix = "" if alone or name not in PLAIN else f"{recording.id} "
        with tqdm.external_write_mode(file=sys.stdout) if not alone else nullcontext():
            print(prefix + text, end="", flush=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
