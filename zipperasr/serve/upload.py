"""Read multipart requests: form fields and 16 kHz mono samples.

An upload is written to an unnamed temporary file while it is read, and refused as soon as it is too large or too slow.
It is decoded before it enters the queue, so a corrupt file is refused at once. As many uploads as there are cores are
decoded at the same time, in turns of one block.
"""

from __future__ import annotations

import asyncio
import codecs
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from typing import BinaryIO, NamedTuple, TypeVar

import anyio
import numpy as np
import soundfile
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from zipperasr.audio.load import SAMPLE_RATE, OutOfBounds
from zipperasr.cli import nearest
from zipperasr.serve.errors import ApiError, busy
from zipperasr.serve.limits import Limits
from zipperasr.serve.model_queue import retrieve_exception
from zipperasr.transcribe.sources import ENDINGS, decoded_blocks

FIELDS_BYTES = 64 * 1024  # maximum size of the fields and of multipart's own lines
MAX_FIELDS = 32
MAX_UPLOADS = 256  # simultaneous
MIN_BYTES_PER_S = 4096  # minimum speed of an upload
HIGHEST_RATE, MAX_CHANNELS = 192_000, 8
CHARSETS = ("utf-8", "ascii", "iso8859-1")  # normalised names; other codecs may raise errors of their own

Result = TypeVar("Result")


class Upload(NamedTuple):
    """Fields and file of a form."""

    fields: dict[str, str]
    lists: dict[str, tuple[str, ...]]  # values of the fields that may be repeated
    name: str  # file name
    file: BinaryIO


class Uploads:
    """Uploads in progress. Each must keep a minimum speed; their number and total size are limited."""

    def __init__(self, limits: Limits):
        self.limits, self.held_bytes, self.num_held = limits, 0, 0
        self.most_bytes = 2 * limits.max_held * limits.max_bytes  # those held, and as many that are being received
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decoding")

    @asynccontextmanager
    async def received(
        self, request: Request, known: Sequence[str], repeatable: Collection[str] = ()
    ) -> AsyncIterator[Upload]:
        """Read the whole request; its file is deleted with the context.

        Raises ApiError if it is not a form, too large or too slow, has an unknown field or no file, or if there are too
        many uploads.

        Args:
            known: field names.
            repeatable: those of them that may have several values.
        """
        _check_type(request.headers.get("content-type", ""))
        with self._counted() as add:
            form = await self._form(request, add)
            try:
                yield _checked(form, self.limits, known, repeatable)
            finally:
                for value in form.values():
                    if isinstance(value, UploadFile):
                        value.file.close()

    async def decoded(self, upload: Upload) -> np.ndarray:
        """Run `samples_of` in threads, a block at a time, so that a short upload does not wait for all of a long one.

        If cancelled, returns after the current block.
        """
        with closing(samples_of(upload, self.limits)) as blocks:
            while (samples := await self._in_thread(partial(next, blocks))) is None:
                pass
            return samples

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        """Call a function in the pool. If cancelled, returns after the call if it has started."""
        call = self._pool.submit(function)
        work = asyncio.wrap_future(call)
        work.add_done_callback(retrieve_exception)
        try:
            await asyncio.wait({work})
            return work.result()
        finally:
            call.cancel()
            while not work.done():  # the caller will close the file that the thread reads
                # a second Ctrl-C cancels this wait as well
                with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
                    await asyncio.wait({work})

    def close(self) -> None:
        """Cancel all decoding of blocks that has not started."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _counted(self) -> Iterator[Callable[[int], int]]:
        """Count an upload and its bytes; yields a function that adds bytes and returns their sum.

        Raises ApiError if there are too many uploads, or too many bytes in all of them.
        """
        size = 0

        def add(count: int) -> int:
            nonlocal size
            size, self.held_bytes = size + count, self.held_bytes + count
            if self.held_bytes > self.most_bytes:
                raise busy(f"{self.num_held} uploads occupy {self.held_bytes / 2**20:.0f} MB")
            return size

        if self.num_held >= MAX_UPLOADS:
            raise busy(f"{self.num_held} uploads are in progress")
        self.num_held += 1
        try:
            yield add
        finally:
            self.num_held, self.held_bytes = self.num_held - 1, self.held_bytes - size

    async def _form(self, request: Request, add: Callable[[int], int]) -> FormData:
        chunks = self._chunks(request, add)
        bounds = {"max_files": 1, "max_fields": MAX_FIELDS, "max_part_size": FIELDS_BYTES}
        try:
            return await MultiPartParser(request.headers, chunks, **bounds).parse()
        except MultiPartException as error:
            raise ApiError(400, f"the form cannot be read: {error.message}") from error

    async def _chunks(self, request: Request, add: Callable[[int], int]) -> AsyncGenerator[bytes, None]:
        """The body in chunks. Every `read_timeout_s` seconds must bring `read_timeout_s * MIN_BYTES_PER_S` bytes."""
        most, limit_s = self.limits.max_bytes + FIELDS_BYTES, self.limits.read_timeout_s
        if int(request.headers.get("content-length", 0)) > most:
            raise _too_large(self.limits)
        stream, size, due, deadline = request.stream(), 0, 0.0, 0.0
        while True:
            if size >= due:
                due, deadline = size + MIN_BYTES_PER_S * limit_s, anyio.current_time() + limit_s
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    chunk = await anext(stream, None)
            except TimeoutError as error:
                raise _too_slow(size, limit_s) from error
            if chunk is None:
                return
            size = add(len(chunk))
            if size > most:
                raise _too_large(self.limits)
            yield chunk


def _check_type(content_type: str) -> None:
    kind, options = parse_options_header(content_type)
    if kind.strip().lower() != b"multipart/form-data":
        raise ApiError(400, "wanted a multipart/form-data request with the recording in its field 'file'", "file")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(charset).name in CHARSETS
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ApiError(400, f"Content-Type: got charset {charset!r}, wanted utf-8; send the form's text in UTF-8")


def _too_slow(size: int, limit_s: float) -> ApiError:
    message = (
        f"the upload stopped or is too slow: {size} bytes so far, and less than {MIN_BYTES_PER_S} bytes/s in the last "
        f"{limit_s:g} s; send it again, or start with a longer --read_timeout_s"
    )
    error = ApiError(408, message, "file", "upload_timeout")
    error.headers["Connection"] = "close"  # the rest will not be read
    return error


def _too_large(limits: Limits) -> ApiError:
    return ApiError(
        413,
        f"file: larger than {limits.max_mb:g} MB; send flac or mp3, or split the recording",
        "file",
        "file_too_large",
    )


def _checked(form: FormData, limits: Limits, known: Sequence[str], repeatable: Collection[str]) -> Upload:
    values: dict[str, list[str | UploadFile]] = {}
    for name, value in form.multi_items():
        values.setdefault(name, []).append(value)
    for name, found in values.items():
        if name not in known:
            raise ApiError(400, f"unknown field {name!r}; {nearest(name, known)}", name, "unknown_parameter")
        if len(found) > 1 and name not in repeatable:
            raise ApiError(400, f"{name}: got {len(found)} values, wanted one", name, "repeated_parameter")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, "file: missing; send the recording as a file with a file name", "file", "missing_file")
    if (file.size or 0) > limits.max_bytes:
        raise _too_large(limits)
    texts = {name: tuple(value for value in found if isinstance(value, str)) for name, found in values.items()}
    fields = {name: found[0] for name, found in texts.items() if found and name not in repeatable}
    lists = {name: texts.get(name, ()) for name in repeatable}
    return Upload(fields, lists, file.filename or "file", file.file)


def samples_of(upload: Upload, limits: Limits) -> Generator[np.ndarray | None, None, None]:
    """Decode an upload: yields None after each block, then (num_samples,) float32, 16 kHz.

    The samples are in memory once: they are decoded into an array of the length in the header, which grows in place if
    there are more. Raises ApiError if it cannot be decoded, is empty or too long.
    """
    duration_s, num_samples = _header_duration_s(upload.file), 0
    if duration_s > limits.max_s + 1:  # some formats round the length
        raise _too_long(upload.name, limits)
    samples = np.empty(math.ceil(duration_s * SAMPLE_RATE) + 1, np.float32)
    try:
        with closing(decoded_blocks(upload.file, upload.name, HIGHEST_RATE, MAX_CHANNELS)) as blocks:
            for block in blocks:
                end = num_samples + len(block)
                if end > limits.max_s * SAMPLE_RATE:
                    raise _too_long(upload.name, limits)
                if end > len(samples):
                    samples.resize(max(end, len(samples) * 5 // 4), refcheck=False)
                samples[num_samples:end], num_samples = block, end
                yield None
    except OutOfBounds as error:
        raise _undecodable(str(error)) from error
    except ValueError as error:
        raise _undecodable(f"{error}; supported: {' '.join(ENDINGS)}") from error
    if not num_samples:
        raise _undecodable(f"{upload.name}: contains no samples")
    samples.resize(num_samples, refcheck=False)
    yield samples


def _header_duration_s(file: BinaryIO) -> float:
    """Duration in the header, 0 if unknown. Hours of silence take kilobytes to send but minutes to decode."""
    try:
        with soundfile.SoundFile(file) as recording:
            known = recording.frames < 2**62  # not the marker for an unknown length
            return recording.frames / recording.samplerate if known else 0.0
    except soundfile.LibsndfileError:  # decoding reports the reason
        return 0.0
    finally:
        file.seek(0)


def _too_long(name: str, limits: Limits) -> ApiError:
    return ApiError(413, f"{name}: longer than {limits.max_s:g} s; split the recording", "file", "recording_too_long")


def _undecodable(message: str) -> ApiError:
    return ApiError(400, message, "file", "undecodable_audio")
