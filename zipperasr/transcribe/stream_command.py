"""`zipperasr transcribe --stream`: raw samples from standard input or the microphone to texts on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from io import BufferedIOBase
from typing import TYPE_CHECKING, TextIO, cast

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.cli import log
from zipperasr.transcribe.defaults import AUTO
from zipperasr.transcribe.sources import STDIN

if TYPE_CHECKING:
    from zipperasr.transcribe.stream import Partial
    from zipperasr.transcribe.transcriber import Transcriber
    from zipperasr.transcribe.transcript import Segment

MICROPHONE = "microphone"
FORMS = ("txt", "json")
BLOCK_S = 0.1
RATES = (1_000, 384_000)
_CLEAR_LINE = "\r\x1b[K"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def check_stream_options(names: list[str], lang: str, form: str, rate: int, others: Sequence[str] = ()) -> None:
    """Raises ValueError for options that a stream cannot have. others: options of whole recordings."""
    if names not in ([STDIN], [MICROPHONE]):
        raise ValueError(f"--stream: got {' '.join(names)}, wanted - for standard input, or {MICROPHONE}")
    if lang == AUTO:
        raise ValueError("--stream: the language cannot be detected in a stream; give it with --lang")
    if form not in FORMS:
        raise ValueError(f"--stream: got --format {form}, wanted {' or '.join(FORMS)}")
    if others:
        raise ValueError(f"--stream: got {', '.join(others)}, which only whole recordings can have; leave it out")
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"--rate: got {rate}, wanted {RATES[0]} to {RATES[1]}")


def transcribe_stream(transcriber: Transcriber, source: str, *, lang: str, form: str, rate: int) -> None:
    """Write partial and final texts as they are recognised, until the input ends or Ctrl-C is pressed."""
    stream = transcriber.stream(lang)
    show = _as_json if form == "json" else _as_text(sys.stdout)
    blocks = _microphone_blocks() if source == MICROPHONE else pcm_blocks(cast(BufferedIOBase, sys.stdin.buffer), rate)
    try:
        for block in blocks:
            for event in stream.feed(block):
                show(event)
    except KeyboardInterrupt:
        log("stopped")
    for event in stream.finish():
        show(event)
    cache = stream.cache
    log(f"{cache.num_encoded} chunks encoded, {cache.num_repeated} of them again because their features had changed")


def pcm_blocks(stream: BufferedIOBase, rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
    """Yield float32 at 16 kHz of raw 16-bit little-endian mono samples, as soon as they arrive."""
    from zipperasr.transcribe.pcm import PcmReader

    reader = PcmReader(rate)
    while data := stream.read1(max(2, int(BLOCK_S * rate) * 2)):
        yield reader.read(data)
    yield reader.flush()


def _microphone_blocks() -> Iterator[np.ndarray]:
    """Yield 16 kHz float32 of the default input device. Raises ValueError if there is no such device."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise ValueError(
            "the microphone needs sounddevice and PortAudio; pip install -e '.[microphone]' and apt install "
            f"libportaudio2 ({error})"
        ) from error
    try:
        size = int(BLOCK_S * SAMPLE_RATE)
        with sounddevice.InputStream(samplerate=SAMPLE_RATE, channels=1, dtype="float32", blocksize=size) as device:
            log("listening; press Ctrl-C to stop")
            while True:
                samples, has_lost = device.read(size)
                if has_lost:
                    log("samples were lost: recognition is slower than the microphone")
                yield samples[:, 0]
    except sounddevice.PortAudioError as error:
        raise ValueError(f"the microphone cannot be opened: {error}") from error


def _as_json(event: Partial | Segment) -> None:
    """One line: a partial text has `stable`, a final one the fields of a segment but its tokens."""
    if hasattr(event, "as_fields"):
        fields = {"type": "final", **event.as_fields()}
    else:
        fields = {"type": "partial", **asdict(event)}
    print(json.dumps(fields, ensure_ascii=False), flush=True)


def _as_text(out: TextIO) -> Callable[[Partial | Segment], None]:
    """One line for each segment; on a terminal, partial texts are replaced in place, their unstable part in grey."""
    on_terminal = out.isatty()

    def show(event: Partial | Segment) -> None:
        clear = _CLEAR_LINE if on_terminal else ""
        if not hasattr(event, "stable"):
            print(f"{clear}{event.text}", end="\n" if event.text else "", file=out, flush=True)
        elif on_terminal:
            rest = event.text[len(event.stable) :]
            print(f"{clear}{event.stable}{_DIM}{rest}{_PLAIN}", end="", file=out, flush=True)

    return show
