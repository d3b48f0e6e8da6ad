"""Write zip archives with a manifest of sizes and SHA-256 digests, and unpack untrusted ones safely.

In: named files. Out: a zip with reproducible bytes; or the files again. No file in it can run code when it is loaded
(no pickle, no Python) or be unpacked outside the target directory. Weights are stored uncompressed, because they would
not shrink.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from zipperasr.atomic import atomic_path

MANIFEST = "manifest.json"
MANIFEST_BYTES = 16 << 20  # upper limit
SUFFIXES = (".safetensors", ".json", ".jsonl", ".yaml", ".tsv", ".txt", ".md", ".jinja", ".model")  # none is pickle
MAX_FILES = 1000  # a bundle has about thirty
MAX_DEFLATED_BYTES = 128 << 20  # unpacked size of everything but weights; tokenizers have about 20 MB
_BLOCK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest date, so that equal content gives equal bytes


def write_archive(path: str | Path, files: Mapping[str, Path | bytes], facts: Mapping[str, object]) -> None:
    """Write `files`, keyed by their names in the archive, and `facts` into the manifest. Raises ValueError."""
    entries = {}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in files.items():
            _check_name(name, path)
            entries[name] = _add(archive, name, content)
        manifest = json.dumps({**facts, "files": entries}, indent=1, ensure_ascii=False) + "\n"
        _add(archive, MANIFEST, manifest.encode())


def read_manifest(path: str | Path) -> dict:
    """Read the manifest, after checking the names, sizes and types of all entries. Raises ValueError."""
    with _opened(path) as archive:
        return _checked_manifest(archive, path)


def unpack(path: str | Path, directory: Path) -> dict:
    """Unpack into `directory`, which is empty or does not exist; returns the manifest.

    Raises ValueError if the zip is damaged, was not written by `write_archive`, or is unsafe; OSError if the disk is
    too small.
    """
    with _opened(path) as archive:
        manifest = _checked_manifest(archive, path)
        directory.mkdir(parents=True, exist_ok=True)
        needed, free = sum(entry["size"] for entry in manifest["files"].values()), shutil.disk_usage(directory).free
        if needed > free:
            raise OSError(f"{path}: needs {needed:,} bytes in {directory}, but {free:,} are free; free some space")
        for name, entry in manifest["files"].items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as sink:
                size, digest = _copy(source, sink)
            if (size, digest) != (entry["size"], entry["sha256"]):
                raise ValueError(f"{path}: {name}: does not match its SHA-256 in the manifest; fetch the file again")
    return manifest


@contextmanager
def _opened(path: str | Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        UnicodeDecodeError,
        RuntimeError,
    ) as error:  # everything that zipfile raises
        raise ValueError(f"{path}: not a complete zip archive ({error}); fetch the file again") from error


def _checked_manifest(archive: zipfile.ZipFile, path: str | Path) -> dict:
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise ValueError(
            f"{path}: got {len(infos):,} files, wanted at most {MAX_FILES:,}; it was not written by `zipperasr export`"
        )
    for info in infos:
        _check_entry(info, path)
    sizes = {info.filename: info.file_size for info in infos}
    if len(sizes) != len(infos):
        raise ValueError(f"{path}: two entries have the same name; it was not written by `zipperasr export`")
    if sizes.get(MANIFEST, MANIFEST_BYTES + 1) > MANIFEST_BYTES:
        raise ValueError(f"{path}: no {MANIFEST}; wanted a zip written by `zipperasr export --format bundle`")
    manifest = _parse_manifest(archive.read(MANIFEST), path)
    declared = {name: entry["size"] for name, entry in manifest["files"].items()}
    del sizes[MANIFEST]
    for name in sorted(declared.keys() ^ sizes.keys()):
        where = "archive" if name in declared else "manifest"
        raise ValueError(f"{path}: {name}: missing from the {where}; fetch the file again")
    for name, size in sizes.items():
        if size != declared[name]:
            raise ValueError(
                f"{path}: {name}: got {size:,} bytes, wanted {declared[name]:,} by the manifest; fetch the file again"
            )
    _check_sizes(infos, path)
    return manifest


def _check_sizes(infos: list[zipfile.ZipInfo], path: str | Path) -> None:
    """Raises ValueError if a small zip would unpack to a large directory, by compression or by overlapping entries."""
    unpacked = 0
    for info in infos:
        if info.compress_type == zipfile.ZIP_STORED:
            if info.compress_size != info.file_size:
                raise ValueError(
                    f"{path}: {info.filename}: stored uncompressed, but its two sizes differ; fetch the file again"
                )
        elif info.filename.endswith(".safetensors"):
            raise ValueError(f"{path}: {info.filename}: got compressed weights; pack them with `zipperasr export`")
        else:
            unpacked += info.file_size
    if unpacked > MAX_DEFLATED_BYTES:
        raise ValueError(
            f"{path}: got {unpacked:,} bytes of compressed files when unpacked, wanted at most {MAX_DEFLATED_BYTES:,}; "
            "it was not written by `zipperasr export`"
        )
    if sum(info.compress_size for info in infos) > Path(path).stat().st_size:
        raise ValueError(f"{path}: its entries overlap; it was not written by `zipperasr export`")


def _parse_manifest(content: bytes, path: str | Path) -> dict:
    try:
        manifest = json.loads(content)
        for entry in manifest["files"].values():
            if not isinstance(entry["size"], int) or not isinstance(entry["sha256"], str):
                raise TypeError("a size is not an integer or a digest is not text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {MANIFEST} cannot be read ({error}); fetch the file again") from error
    return manifest


def _check_entry(info: zipfile.ZipInfo, path: str | Path) -> None:
    _check_name(info.orig_filename, path)
    if info.header_offset < 0:
        raise zipfile.BadZipFile(f"{info.filename} has a negative offset")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ValueError(f"{path}: {info.filename}: got a link or device, wanted regular files only")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{path}: {info.filename}: encrypted, or compressed by another method than deflate")


def _check_name(name: str, path: str | Path) -> None:
    if any(part in ("", ".", "..") for part in name.split("/")) or any(sign in name for sign in "\\:\0"):
        raise ValueError(f"{path}: {name!r}: this path leads outside the target directory; nothing was unpacked")
    if PurePosixPath(name).suffix not in SUFFIXES:
        raise ValueError(f"{path}: {name}: file type not allowed in a bundle; wanted one of {' '.join(SUFFIXES)}")


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> dict[str, object]:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size  # selects zip64
    with archive.open(info, "w") as sink:
        if isinstance(content, bytes):
            sink.write(content)
            return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        with content.open("rb") as source:
            size, digest = _copy(source, sink)
    return {"size": size, "sha256": digest}


def _copy(source: BinaryIO, sink: BinaryIO) -> tuple[int, str]:
    """Copy a stream; returns the number of bytes and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        sink.write(block)
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
