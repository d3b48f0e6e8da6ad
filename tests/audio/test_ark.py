"""Arks and scp entries are data: nothing in them is executed; other content is reported in one line."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from zipperasr.audio.ark import read_vector, read_vectors
from zipperasr.audio.load import load_audio
from zipperasr.text_lines import refuse_pipe


class Touch:
    """Creates a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def pickled(tmp_path) -> Path:
    """An ark with pickled objects, as kaldiio writes them."""
    path = tmp_path / "evil.ark"
    path.write_bytes(b"de PKL" + pickle.dumps(Touch(tmp_path / "run")))
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_are_read_as_kaldiio_reads_them(tmp_path, dtype):
    vectors = {"b": np.arange(5, dtype=dtype), "ä": np.ones(1, dtype=dtype), "c": np.zeros(0, dtype=dtype)}
    kaldiio.save_ark(str(tmp_path / "x.ark"), vectors, scp=str(tmp_path / "x.scp"))
    found = dict(read_vectors(tmp_path / "x.ark"))
    theirs = dict(kaldiio.load_ark(str(tmp_path / "x.ark")))
    entries = dict(line.split(" ") for line in (tmp_path / "x.scp").read_text(encoding="utf-8").splitlines())
    assert list(found) == list(theirs) == list(vectors)
    for key, vector in vectors.items():
        for one in (found[key], theirs[key], read_vector(entries[key], "x.scp")):
            assert one.dtype == dtype and np.array_equal(one, vector)


def test_a_pickle_in_an_ark_is_not_loaded(pickled, tmp_path):
    with pytest.raises(ValueError, match=r"evil.ark: 'de': got b'PKL.*', wanted a binary float vector \(FV or DV\)"):
        dict(read_vectors(pickled))
    with pytest.raises(ValueError, match=r"x.scp:1: .*evil.ark:3: got b'PKL.*', wanted a binary float vector"):
        read_vector(f"{pickled}:3", "x.scp:1")
    with pytest.raises(ValueError, match=r"evil.ark:3: got b'PKL.*' at byte 3 of .*, wanted audio; rerun stage 2"):
        load_audio(f"{pickled}:3")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", ["touch {} |", "touch {}|", "| touch {}", " touch {} | "])
def test_a_command_is_rejected_and_not_run(tmp_path, form):
    entry = form.format(tmp_path / "run")
    for read in (lambda: read_vector(entry, "x"), lambda: load_audio(entry), lambda: refuse_pipe(entry, "x")):
        with pytest.raises(ValueError, match=r"is a command; commands in scp files are not run; run it yourself"):
            read()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a \0BFM \4\1\0\0\0\4\1\0\0\0\0\0\0\0", "wanted a binary float vector"),
        (b"a  [ 1 2 ]\n", "wanted a binary float vector"),
        (b"a NPY", "wanted a binary float vector"),
        (b"a \0BFV \4\xff\xff\xff\xff", "got a vector of -1 numbers"),
        (b"a \0BFV \4\xff\xff\xff\x7f\0", "the file ends after 1 of 8589934588 bytes"),
        (b"a \0BFV \4\1\0", "the file ends after 2 of 4 bytes"),
        (b"abc", "got b'abc', wanted an id and a space"),
        (b"\xff\xfe \0BFV ", "wanted an id and a space"),
        (b" \0BFV ", "wanted an id and a space"),
        (b"x" * 5000 + b" ", "wanted an id and a space"),
    ],
)
def test_other_content_of_an_ark_is_reported_in_one_line(tmp_path, content, message):
    (tmp_path / "x.ark").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x.ark: .*{message}") as caught:
        dict(read_vectors(tmp_path / "x.ark"))
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_bare_audio_files_in_an_ark_are_decoded(tmp_path, container):
    samples = np.linspace(-0.5, 0.5, 1600).astype(np.float32)
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format=container, subtype="PCM_16")
    (tmp_path / "x.ark").write_bytes(b"utt " + stream.getvalue() + b"next one")
    np.testing.assert_allclose(load_audio(f"{tmp_path}/x.ark:4"), samples, atol=1e-4)


@pytest.mark.parametrize(
    "content", [b"AUDIO\xff" + b"\xff" * 255, b"AUDIO\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"RIFF\xff\xff\xff\xff"]
)
def test_a_length_beyond_the_end_of_the_file_allocates_nothing(tmp_path, content):
    (tmp_path / "x.ark").write_bytes(content)
    with pytest.raises(ValueError, match=r"x.ark ends after \d+ of \d+ bytes of audio; rerun stage 2"):
        load_audio(f"{tmp_path}/x.ark:0")
