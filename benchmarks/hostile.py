"""Hostile requests to a transcription server, each with the correct answers.

Input: a random generator. Output: what to send, in which pieces, and the acceptable status codes.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile

CLOSED = 0  # the server closes the connection without a response
PATH = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Attack:
    """A request, possibly incomplete."""

    pieces: tuple[bytes, ...]
    answers: tuple[int, ...]  # acceptable status codes; empty: the client disconnects after the last piece
    pause_s: float = 0.0  # pause after each piece


def head(method: str = "POST", target: str = PATH, length: int | str = 0, **headers: str) -> bytes:
    """A request line and headers. `length`: of the body, or `chunked`."""
    lines = {"Host": "localhost", "Content-Type": MULTIPART, **{k.replace("_", "-"): v for k, v in headers.items()}}
    lines |= {"Transfer-Encoding": "chunked"} if length == "chunked" else {"Content-Length": str(length)}
    return "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode()


def form(audio: bytes, *fields: tuple[str, str]) -> bytes:
    """A multipart body."""
    disposition = "Content-Disposition: form-data; name="
    texts = "".join(f'--x\r\n{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return f'{texts}--x\r\n{disposition}"file"; filename="a.wav"\r\n\r\n'.encode() + audio + b"\r\n--x--\r\n"


def request(audio: bytes, *fields: tuple[str, str], **headers: str) -> bytes:
    body = form(audio, *fields)
    return head(length=len(body), **headers) + body


@cache
def silence(rate: int, channels: int, seconds: float, kind: str = "FLAC", subtype: str | None = None) -> bytes:
    """A small file that decodes to a large recording."""
    stream = io.BytesIO()
    block = np.zeros((rate, channels), dtype=np.int16)
    with soundfile.SoundFile(stream, "w", rate, channels, subtype, format=kind) as recording:
        for _ in range(max(1, int(seconds))):
            recording.write(block[: int(seconds * rate)])
    return stream.getvalue()


@cache
def noise(seconds: float, kind: str = "FLAC", subtype: str | None = None, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000))
    soundfile.write(stream, samples, 16_000, format=kind, subtype=subtype)
    return stream.getvalue()


def _one_by_one(content: bytes) -> tuple[bytes, ...]:
    return tuple(content[place : place + 1] for place in range(len(content)))


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: int(len(content) * draw.uniform(0.2, 0.9))]


def _not_finite() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.full(800, np.nan, dtype=np.float32), 16_000, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@cache
def _endless() -> tuple[bytes, ...]:
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    return (head(length="chunked") + b"10000\r\n" + form(bytes(2**16))[: 2**16] + b"\r\n", *[chunk] * 100)


def _field(draw: random.Random) -> tuple[str, str]:
    names = ["langauge", "x" * 10_000, "\x00", "file[]", "language", "response_format", "stream", "\u202e"]
    return draw.choice(names), draw.choice(["xx", "x" * 50_000, "\x1b[2J", "true", "\U0001f600"])


ATTACKS: dict[str, Callable[[random.Random], Attack]] = {
    "connection without a request": lambda draw: Attack((b"",), (CLOSED,)),
    "unterminated headers": lambda draw: Attack((_cut(draw, head()[:-4]),), (CLOSED,)),
    "headers one byte at a time": lambda draw: Attack(_one_by_one(head(X_Long="x" * 1000)), (CLOSED,), 0.1),
    "stalled upload": lambda draw: Attack((_cut(draw, request(noise(5.0))),), (408,)),
    "upload one byte at a time": lambda draw: Attack(
        (head(length=9999), *_one_by_one(form(bytes(9000)))), (408, CLOSED), 0.1
    ),
    "upload too large": lambda draw: Attack((head(length=10**10) + form(bytes(10**5)),), (413,)),
    "endless chunked upload": lambda draw: Attack(_endless(), (413, CLOSED)),
    "one-byte chunks": lambda draw: Attack(
        (head(length="chunked"), *(b"1\r\n%c\r\n" % byte for byte in form(bytes(500))), b"0\r\n\r\n"), (400,)
    ),
    "wrong content type": lambda draw: Attack(
        (request(b"", Content_Type=draw.choice(["", "text/plain", "application/json", "multipart/mixed", ";;;"])),),
        (400,),
    ),
    "unusual charset": lambda draw: Attack(
        (
            request(
                noise(1.0), Content_Type=f"{MULTIPART}; charset={draw.choice(['punycode', 'idna', 'zlib', 'x' * 99])}"
            ),
        ),
        (400,),
    ),
    "malformed form": lambda draw: Attack(
        (request(noise(1.0), Content_Type=f"multipart/form-data{draw.choice(['', '; boundary=y', '; boundary='])}"),),
        (400,),
    ),
    "too many fields": lambda draw: Attack((request(noise(1.0), *[("prompt", "x")] * 40),), (400,)),
    "unknown field": lambda draw: Attack((request(noise(1.0), _field(draw)),), (400,)),
    "no audio": lambda draw: Attack((request(draw.randbytes(draw.randrange(5000))),), (400,)),
    "truncated audio": lambda draw: Attack((request(_cut(draw, noise(2.0))),), (400,)),
    "non-finite samples": lambda draw: Attack((request(_not_finite()),), (400,)),
    "655 kHz and 8 channels": lambda draw: Attack((request(silence(655_350, 8, 5.0)),), (400,)),
    "1,000 channels": lambda draw: Attack((request(silence(8_000, 1000, 0.01, "WAV")),), (400,)),
    "192 kHz and 8 channels": lambda draw: Attack((request(silence(192_000, 8, 30.0)),), (200,)),
    "192 kHz and 8 channels, too long": lambda draw: Attack((request(silence(192_000, 8, 130.0)),), (413,)),
    "recording too long": lambda draw: Attack((request(silence(8_000, 1, 1000.0)),), (413,)),
    "wrong method": lambda draw: Attack((head(draw.choice(["GET", "PUT", "DELETE", "BREW"])),), (405,)),
    "long path": lambda draw: Attack((head("GET", "/x" + "x" * draw.randrange(10_000)),), (404,)),
    "headers too long": lambda draw: Attack((head(X_Long="x" * 100_000),), (400, CLOSED)),
    "not HTTP": lambda draw: Attack((draw.randbytes(1000) + b"\r\n\r\n",), (400, CLOSED)),
    "path traversal": lambda draw: Attack((head("GET", "/assets/../../run.py"),), (404,)),
    "foreign host": lambda draw: Attack((head("GET", "/", Host="evil.example"),), (403,)),
    "foreign origin": lambda draw: Attack((request(noise(1.0), Origin="https://evil.example"),), (403,)),
    "disconnects during the upload": lambda draw: Attack((_cut(draw, request(noise(5.0))),), ()),
    "disconnects before the response": lambda draw: Attack((request(noise(5.0)),), (), draw.uniform(0, 0.2)),
}
