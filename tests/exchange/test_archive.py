"""Archives round-trip; nothing is unpacked from damaged, foreign or hostile ones."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import stat
import zipfile
from pathlib import Path

import pytest

from zipperasr.exchange import archive
from zipperasr.exchange.archive import read_manifest, unpack, write_archive


@pytest.fixture
def sound(tmp_path) -> Path:
    (tmp_path / "w.safetensors").write_bytes(random.Random(1).randbytes(5000))
    write_archive(tmp_path / "m.zip", {"a/w.safetensors": tmp_path / "w.safetensors", "t.txt": b"text" * 99}, {"x": 1})
    return tmp_path / "m.zip"


def forge(path: Path, names: list, contents: bytes = b"boo", manifest: object = None) -> Path:
    """Write a zip file. names: strings or ZipInfo; unless a manifest is given, it lists all of them correctly."""
    infos = [zipfile.ZipInfo(name) if isinstance(name, str) else name for name in names]
    entry = {"size": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
    if manifest is None:
        manifest = {"files": {info.filename: entry for info in infos}}
    with zipfile.ZipFile(path, "w") as forged:
        for info in infos:
            forged.writestr(info, contents)
        forged.writestr("manifest.json", manifest if isinstance(manifest, bytes) else json.dumps(manifest))
    return path


def refused(path: Path, tmp_path: Path, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        unpack(path, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.txt")) and not (tmp_path.parent / "evil.txt").exists()


def test_files_round_trip(sound, tmp_path):
    assert unpack(sound, tmp_path / "out")["x"] == 1
    assert (tmp_path / "out/a/w.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()
    assert (tmp_path / "out/t.txt").read_bytes() == b"text" * 99
    assert sorted(read_manifest(sound)["files"]) == ["a/w.safetensors", "t.txt"]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:evil.txt", "a//b.txt"]
)
def test_paths_outside_the_target_are_rejected(tmp_path, name):
    refused(forge(tmp_path / "m.zip", [name]), tmp_path, "this path leads outside the target directory; nothing")
    with pytest.raises(ValueError, match="leads outside"):
        write_archive(tmp_path / "n.zip", {name: b""}, {})
    assert not (tmp_path / "n.zip").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_rejected(tmp_path, kind):
    info = zipfile.ZipInfo("link.txt")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(
        forge(tmp_path / "m.zip", [info], b"/etc/passwd"),
        tmp_path,
        "link.txt: got a link or device, wanted regular files",
    )


@pytest.mark.parametrize("name", ["model.pt", "weights.bin", "x.pkl", "code.py", "noending"])
def test_file_types_that_could_contain_pickles_or_code_are_rejected(tmp_path, name):
    refused(forge(tmp_path / "m.zip", [name]), tmp_path, f"{name}: file type not allowed in a bundle; wanted one of .s")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_reported_in_one_line(sound, tmp_path, share):
    content = sound.read_bytes()
    sound.write_bytes(content[: int(len(content) * share)])
    refused(sound, tmp_path, "m.zip: not a complete zip archive .*; fetch the file again")


@pytest.mark.parametrize("bits", [0x01, 0x80])
def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path, bits):
    write_archive(tmp_path / "m.zip", {"a/w.safetensors": b"weights", "t.txt": b"text" * 9}, {})
    sound = (tmp_path / "m.zip").read_bytes()
    unpack(tmp_path / "m.zip", tmp_path / "right")
    noticed = 0
    for place in range(len(sound)):
        (tmp_path / "m.zip").write_bytes(sound[:place] + bytes([sound[place] ^ bits]) + sound[place + 1 :])
        out = tmp_path / f"{place}"
        try:
            unpack(tmp_path / "m.zip", out)
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path / 'm.zip'}: "), (place, error)
            noticed += 1
        else:
            for path in (tmp_path / "right").rglob("*.*"):
                assert (out / path.relative_to(tmp_path / "right")).read_bytes() == path.read_bytes(), place
    assert noticed > len(sound) / 2  # changes to dates, versions and comments are harmless


def test_content_must_have_the_declared_size_and_digest(tmp_path):
    wrong = {"files": {"a.txt": {"size": 3, "sha256": "0" * 64}}}
    refused(forge(tmp_path / "m.zip", ["a.tsv"], manifest={"files": {"a.tsv": wrong["files"]["a.txt"]}}), tmp_path,
            "a.tsv: does not match its SHA-256 in the manifest; fetch the file again")  # fmt: skip
    wrong["files"]["a.txt"]["size"] = 2
    refused(forge(tmp_path / "n.zip", ["a.txt"], manifest=wrong), tmp_path, "a.txt: got 3 bytes, wanted 2 by the")


def test_an_entry_with_a_wrong_size_is_rejected(tmp_path):
    path = forge(tmp_path / "m.zip", ["a.txt"], b"boo" * 100)
    content = bytearray(path.read_bytes())
    for header, offset in (
        (b"PK\x01\x02", 24),
        (b"PK\x03\x04", 22),
    ):  # the uncompressed size, which follows the compressed one
        place = content.index(header) + offset
        content[place : place + 4] = (3).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, tmp_path, "a.txt: got 3 bytes, wanted 300 by the manifest")


def test_archive_and_manifest_must_list_the_same_files(tmp_path):
    refused(forge(tmp_path / "m.zip", ["a.txt"], manifest={"files": {}}), tmp_path, "a.txt: missing from the manifest")
    entry = {"size": 3, "sha256": "0"}
    refused(
        forge(tmp_path / "n.zip", [], manifest={"files": {"b.txt": entry}}), tmp_path, "b.txt: missing from the archive"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_names_are_rejected(tmp_path):
    refused(forge(tmp_path / "m.zip", ["a.txt", "a.txt"]), tmp_path, "two entries have the same name")


def test_a_foreign_archive_is_recognised_by_its_missing_manifest(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as foreign:
        foreign.writestr("a.txt", "boo")
    refused(tmp_path / "m.zip", tmp_path, "no manifest.json; wanted a zip written by `zipperasr export --format")


def test_a_manifest_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MANIFEST_BYTES", 20)
    refused(forge(tmp_path / "m.zip", ["a.txt"]), tmp_path, "no manifest.json; wanted a zip")


@pytest.mark.parametrize(
    "manifest", [b"{", b"[]", b"{}", b'{"files": {"a.txt": {"size": "3", "sha256": ""}}}', b'{"files": {"a.txt": 3}}']
)
def test_an_unreadable_manifest_is_reported_in_one_line(tmp_path, manifest):
    refused(forge(tmp_path / "m.zip", ["a.txt"], manifest=manifest), tmp_path, "manifest.json cannot be read .*; fetch")


def test_other_compression_methods_and_encryption_are_rejected(tmp_path):
    info = zipfile.ZipInfo("a.txt")
    info.compress_type = zipfile.ZIP_BZIP2
    refused(forge(tmp_path / "m.zip", [info]), tmp_path, "a.txt: encrypted, or compressed by another")
    path = forge(tmp_path / "n.zip", ["a.txt"])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, tmp_path, "a.txt: encrypted, or compressed by another")


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    path = forge(tmp_path / "m.zip", ["a.txt"])
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: archive.shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(OSError, match=r"needs 3 bytes in .*, but 1 are free; free some space"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_zip64_files_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as in Python's own tests: writing 2 GiB would take too long
    (tmp_path / "w.safetensors").write_bytes(b"w" * 500)
    write_archive(tmp_path / "m.zip", {"w.safetensors": tmp_path / "w.safetensors", "t.txt": b"t" * 150}, {})
    unpack(tmp_path / "m.zip", tmp_path / "out")
    assert (tmp_path / "out/w.safetensors").read_bytes() == b"w" * 500


def test_weights_are_stored_and_text_is_deflated(sound):
    with zipfile.ZipFile(sound) as opened:
        kinds = {info.filename: info.compress_type for info in opened.infolist()}
    assert kinds["a/w.safetensors"] == zipfile.ZIP_STORED and kinds["t.txt"] == zipfile.ZIP_DEFLATED


def deflated(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


@pytest.mark.parametrize(("names", "size"), [(["a.txt"], 300 << 20), (["a.txt", "b.json", "c.model"], 50 << 20)])
def test_a_zip_bomb_of_text_is_not_unpacked(tmp_path, names, size):
    path = forge(tmp_path / "m.zip", [deflated(name) for name in names], bytes(size))
    assert path.stat().st_size < 1 << 20
    refused(
        path, tmp_path, r"m.zip: got \d+,\d+,\d+ bytes of compressed files when unpacked, wanted at most 134,217,728"
    )
    assert not (tmp_path / "out").exists()


def test_weights_must_be_stored_uncompressed(tmp_path):
    path = forge(tmp_path / "m.zip", [deflated("a/model.safetensors")], bytes(1 << 20))
    refused(path, tmp_path, "a/model.safetensors: got compressed weights; pack them with `zipperasr export`")


def test_the_number_of_files_is_limited(tmp_path):
    path = forge(tmp_path / "m.zip", [f"{number}.txt" for number in range(1001)], b"")
    refused(path, tmp_path, "m.zip: got 1,002 files, wanted at most 1,000; it was not written by `zipperasr export`")


def test_overlapping_entries_are_rejected(tmp_path):
    """All entries of the directory point to the same data: a zip file of 64 kB would unpack to 1 MB."""
    names = [f"{number:02}.safetensors" for number in range(16)]
    block = bytes(1 << 16)
    path = forge(tmp_path / "m.zip", names[:1], block, {"files": {
        name: {"size": len(block), "sha256": hashlib.sha256(block).hexdigest()} for name in names
    }})  # fmt: skip
    with zipfile.ZipFile(path, "a") as archive:
        for name in names[1:]:
            info = copy.copy(archive.infolist()[0])
            info.filename = info.orig_filename = name
            archive.filelist.append(info)
            archive.NameToInfo[name] = info
        archive.writestr("z.txt", b"")  # makes zipfile write the directory again
        archive.filelist.remove(archive.NameToInfo["z.txt"])
    assert path.stat().st_size < 2 * len(block)
    refused(path, tmp_path, "m.zip: its entries overlap; it was not written by `zipperasr export`")
