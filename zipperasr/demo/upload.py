"""A multipart request becomes form fields and samples.

In: a request. Out: what it asks for, 16 kHz mono. The upload goes to a nameless temporary file while it is read, and
is refused as soon as it is too large. All of it is decoded before it waits for the model: a broken one need not wait.
"""

from __future__ import annotations

import asyncio
import codecs
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, NamedTuple

import anyio
import numpy as np
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from zipperasr.cli import nearest
from zipperasr.data.audio import SAMPLE_RATE
from zipperasr.demo.errors import ApiError
from zipperasr.demo.limits import Limits
from zipperasr.demo.model_queue import give_up_if
from zipperasr.transcribe.sources import ENDINGS, decoded_blocks

FIELDS_BYTES = 64 * 1024  # what may come beside the file: fields and multipart's own lines
MAX_FIELDS = 32
HIGHEST_RATE, MAX_CHANNELS = 192_000, 8
CHARSETS = ("utf-8", "ascii", "iso8859-1")  # as Python names them; others can fail in ways of their own


class Upload(NamedTuple):
    """A form with its file."""

    fields: dict[str, str]  # the last one of a name counts
    name: str  # of the file
    file: BinaryIO


@asynccontextmanager
async def received(request: Request, limits: Limits, known: Sequence[str]) -> AsyncIterator[Upload]:
    """Read the whole request; its file is gone with the context. known: names of fields.

    Raises ApiError: not a form, too large, unknown field, no file.
    """
    _check_type(request.headers.get("content-type", ""))
    parser = MultiPartParser(
        request.headers, _bounded(request, limits), max_files=1, max_fields=MAX_FIELDS, max_part_size=FIELDS_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, f"the form cannot be read: {error.message}") from error
    try:
        yield _checked(form, limits, known)
    finally:
        await form.close()


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


async def _bounded(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    most, size = limits.max_bytes + FIELDS_BYTES, 0
    if int(request.headers.get("content-length", 0)) > most:
        raise _too_large(limits)
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> ApiError:
    return ApiError(
        413, f"file: larger than {limits.max_mb:g} MB; send flac, mp3 or a part of it", "file", "file_too_large"
    )


def _checked(form: FormData, limits: Limits, known: Sequence[str]) -> Upload:
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    for name in form:
        if name not in known:
            raise ApiError(400, f"unknown field {name!r}; {nearest(name, known)}", name, "unknown_parameter")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, "file: missing; send the recording as a file, with a file name", "file", "missing_file")
    if file.size > limits.max_bytes:
        raise _too_large(limits)
    return Upload(fields, file.filename or "file", file.file)


async def decoded(upload: Upload, limits: Limits) -> np.ndarray:
    """`samples_of` in a thread. If cancelled, it returns as soon as the thread has finished its block."""
    stop = threading.Event()
    work = asyncio.get_running_loop().run_in_executor(None, samples_of, upload, limits, stop)
    try:
        await asyncio.wait({work})
        return work.result()
    finally:
        stop.set()
        with anyio.CancelScope(shield=True):  # the caller closes the file that the thread reads
            await asyncio.wait({work})
        work.exception()  # retrieved, or asyncio would log it


def samples_of(upload: Upload, limits: Limits, stop: threading.Event) -> np.ndarray:
    """(num_samples,) float32, 16 kHz.

    Raises ApiError if it cannot be decoded, is empty or too long; GivenUp after the block in which `stop` was set.
    """
    blocks, num_samples = [], 0
    try:
        for block in decoded_blocks(upload.file, upload.name, HIGHEST_RATE, MAX_CHANNELS):
            give_up_if(stop)
            blocks.append(block)
            num_samples += len(block)
            if num_samples > limits.max_s * SAMPLE_RATE:
                message = f"{upload.name}: longer than {limits.max_s:g} s; send it in parts"
                raise ApiError(413, message, "file", "recording_too_long")
    except ValueError as error:
        raise _undecodable(f"{error}; read are {' '.join(ENDINGS)}") from error
    if not num_samples:
        raise _undecodable(f"{upload.name}: no samples in it")
    samples = np.concatenate(blocks)
    if not np.isfinite(samples).all():
        raise _undecodable(f"{upload.name}: some of its samples are not finite numbers")
    return samples


def _undecodable(message: str) -> ApiError:
    return ApiError(400, message, "file", "undecodable_audio")
