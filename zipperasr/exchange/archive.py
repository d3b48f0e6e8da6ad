"""Zip archives that are opened without trust: a manifest names each file with its size and SHA-256.

In: named files. Out: a zip whose bytes follow from them, and the files again. Nothing in it can be executed on
loading (no pickle, no code) or land outside its directory. Weights are stored, not deflated: they would not shrink.
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
MANIFEST_BYTES = 16 << 20  # more is no manifest of ours
SUFFIXES = (".safetensors", ".json", ".jsonl", ".yaml", ".tsv", ".txt", ".md", ".jinja", ".model")  # none is pickle
MAX_FILES = 1000  # a bundle has some thirty
MAX_DEFLATED_BYTES = 128 << 20  # unpacked, of all but weights: tokenizers have some 20 MB
_BLOCK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest date: equal content gives equal bytes


def write_archive(path: str | Path, files: Mapping[str, Path | bytes], facts: Mapping[str, object]) -> None:
    """Write `files` by their names in the archive, and `facts` into its manifest. Raises ValueError on a bad name."""
    entries = {}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in files.items():
            _check_name(name, path)
            entries[name] = _add(archive, name, content)
        manifest = json.dumps({**facts, "files": entries}, indent=1, ensure_ascii=False) + "\n"
        _add(archive, MANIFEST, manifest.encode())


def read_manifest(path: str | Path) -> dict:
    """The manifest, once all names, sizes and kinds of entries have been found sound."""
    with _opened(path) as archive:
        return _checked_manifest(archive, path)


def unpack(path: str | Path, directory: Path) -> dict:
    """Unpack into the empty or absent `directory`; returns the manifest.

    Raises ValueError if the zip is damaged, foreign, larger than it says, or holds anything unsafe.
    """
    with _opened(path) as archive:
        manifest = _checked_manifest(archive, path)
        directory.mkdir(parents=True, exist_ok=True)
        needed, free = sum(entry["size"] for entry in manifest["files"].values()), shutil.disk_usage(directory).free
        if needed > free:
            raise OSError(f"{path}: needs {needed:,} bytes in {directory}, which has {free:,}; free some space")
        for name, entry in manifest["files"].items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as sink:
                size, digest = _copy(source, sink)
            if (size, digest) != (entry["size"], entry["sha256"]):
                raise ValueError(f"{path}: {name}: its content is not what the manifest says; fetch the file again")
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
    ) as error:  # all that zipfile raises
        raise ValueError(f"{path}: no whole zip archive ({error}); fetch the file again") from error


def _checked_manifest(archive: zipfile.ZipFile, path: str | Path) -> dict:
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise ValueError(
            f"{path}: {len(infos):,} files, wanted at most {MAX_FILES:,}; it was not made by `zipperasr export`"
        )
    for info in infos:
        _check_entry(info, path)
    sizes = {info.filename: info.file_size for info in infos}
    if len(sizes) != len(infos):
        raise ValueError(f"{path}: a name stands in the archive twice; it was not made by `zipperasr export`")
    if sizes.get(MANIFEST, MANIFEST_BYTES + 1) > MANIFEST_BYTES:
        raise ValueError(f"{path}: no {MANIFEST}; wanted a bundle of `zipperasr export --format bundle`")
    manifest = _parse_manifest(archive.read(MANIFEST), path)
    declared = {name: entry["size"] for name, entry in manifest["files"].items()}
    del sizes[MANIFEST]
    for name in sorted(declared.keys() ^ sizes.keys()):
        raise ValueError(f"{path}: {name}: it is not in both archive and manifest; fetch the file again")
    for name, size in sizes.items():
        if size != declared[name]:
            raise ValueError(f"{path}: {name}: {size} bytes, but the manifest says {declared[name]}")
    _check_sizes(infos, path)
    return manifest


def _check_sizes(infos: list[zipfile.ZipInfo], path: str | Path) -> None:
    """A small zip must not unpack to a large directory: what is stored takes its own bytes of the file, each once."""
    unpacked = 0
    for info in infos:
        if info.compress_type == zipfile.ZIP_STORED:
            if info.compress_size != info.file_size:
                raise ValueError(f"{path}: {info.filename}: stored, but its two sizes differ; fetch the file again")
        elif info.filename.endswith(".safetensors"):
            raise ValueError(f"{path}: {info.filename}: weights are deflated; pack them by `zipperasr export`")
        else:
            unpacked += info.file_size
    if unpacked > MAX_DEFLATED_BYTES:
        raise ValueError(f"{path}: {unpacked:,} bytes of text when unpacked; wanted at most {MAX_DEFLATED_BYTES:,}")
    if sum(info.compress_size for info in infos) > Path(path).stat().st_size:
        raise ValueError(f"{path}: its files overlap; it was not made by `zipperasr export`")


def _parse_manifest(content: bytes, path: str | Path) -> dict:
    try:
        manifest = json.loads(content)
        for entry in manifest["files"].values():
            if not isinstance(entry["size"], int) or not isinstance(entry["sha256"], str):
                raise TypeError("a size is no number or a digest no text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {MANIFEST} is not readable ({error}); fetch the file again") from error
    return manifest


def _check_entry(info: zipfile.ZipInfo, path: str | Path) -> None:
    _check_name(info.orig_filename, path)
    if info.header_offset < 0:
        raise zipfile.BadZipFile(f"{info.filename} begins before the file does")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ValueError(f"{path}: {info.filename}: a link or device; only plain files are unpacked")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{path}: {info.filename}: encrypted or in an unknown compression; wanted stored or deflated")


def _check_name(name: str, path: str | Path) -> None:
    if any(part in ("", ".", "..") for part in name.split("/")) or any(sign in name for sign in "\\:\0"):
        raise ValueError(f"{path}: {name!r}: leads outside the archive's own directory; nothing was unpacked")
    if PurePosixPath(name).suffix not in SUFFIXES:
        raise ValueError(f"{path}: {name}: no file type of a bundle; wanted one of {' '.join(SUFFIXES)}")


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> dict[str, object]:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size  # large ones need zip64
    with archive.open(info, "w") as sink:
        if isinstance(content, bytes):
            sink.write(content)
            return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        with content.open("rb") as source:
            size, digest = _copy(source, sink)
    return {"size": size, "sha256": digest}


def _copy(source: BinaryIO, sink: BinaryIO) -> tuple[int, str]:
    """Bytes copied and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        sink.write(block)
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
