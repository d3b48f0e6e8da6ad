"""Stage 2 end to end: filters, quarantine, resuming."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpora.example import write_noise
from tests.prepare.example import DEV_IDS, TEST_IDS, TRAIN_IDS, Recipe
from zipperasr.audio.load import load_audio
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.set_table import read_sets
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.stages import format_audio

SETS = {"train_mls_de": TRAIN_IDS, "dev_mls_de": DEV_IDS, "test_mls_de": TEST_IDS}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1's output for a corpus of one-second utterances."""
    recipe = Recipe(tmp_path_factory.mktemp("prepared"))
    recipe.write_mls()
    assert recipe.prepare() == 0
    return recipe.base


@pytest.fixture
def base(prepared: Path, tmp_path: Path) -> Path:
    """A copy whose wav.scp points into the copy."""
    base = tmp_path / "work"
    shutil.copytree(prepared, base)
    for scp in (base / "data").glob("*/wav.scp"):
        scp.write_text(scp.read_text().replace(str(prepared), str(base)))
    return base


def run(base: Path, *options: str) -> int:
    return format_audio.main([f"--data={base / 'data'}", f"--out={base / 'dump'}", "--nj=1", *options])


def audio_of(base: Path, utt_id: str, split: str) -> Path:
    speaker, book, _ = utt_id.split("_")
    return base / f"mls/mls_german/{split}/audio/{speaker}/{book}/{utt_id}.flac"


def test_every_set_becomes_16_khz_audio_with_all_tables(base: Path):
    assert run(base) == 0

    assert read_sets(base / "dump/sets.tsv") == read_sets(base / "data/sets.tsv")
    for name, ids in SETS.items():
        assert validate_data_dir(base / "dump" / name) == len(ids)
        for entry in read_data_dir(base / "dump" / name):
            assert len(load_audio(entry.audio)) == 16_000 and entry.duration_s == 1.0
            assert entry.text.startswith("text von ")
        assert set(read_table(base / "dump" / name / "utt2num_samples").values()) == {"16000"}
        assert (base / "dump" / name / "quarantine.tsv").read_text() == "utt\treason\n"


def test_length_limits_apply_to_training_sets_only(base: Path):
    for utt_id, split in ((TRAIN_IDS[0], "train"), (TEST_IDS[0], "test"), (DEV_IDS[0], "dev")):
        write_noise(audio_of(base, utt_id, split), 3.0)

    assert run(base, "--max_s=2") == 0

    assert len(read_data_dir(base / "dump/train_mls_de")) == len(TRAIN_IDS) - 1
    assert f"15-{TRAIN_IDS[0]}\t3.00 s" in (base / "dump/train_mls_de/filtered.tsv").read_text()
    assert len(read_data_dir(base / "dump/test_mls_de")) == len(TEST_IDS)
    assert len(read_data_dir(base / "dump/dev_mls_de")) == len(DEV_IDS)


def test_one_broken_file_is_quarantined_and_the_others_are_converted(base: Path, capsys: pytest.CaptureFixture):
    audio_of(base, TRAIN_IDS[0], "train").write_bytes(b"")

    assert run(base) == 0

    assert f"15-{TRAIN_IDS[0]}\tcannot be decoded" in (base / "dump/train_mls_de/quarantine.tsv").read_text()
    assert len(read_data_dir(base / "dump/train_mls_de")) == len(TRAIN_IDS) - 1
    assert "train_mls_de: 1 of 12 quarantined" in capsys.readouterr().err


def test_too_many_broken_files_stop_the_stage(base: Path, capsys: pytest.CaptureFixture):
    for utt_id in TRAIN_IDS[:3]:
        audio_of(base, utt_id, "train").write_bytes(b"")

    assert run(base) == 1

    message = capsys.readouterr().err
    assert "quarantine.tsv: 3 of 12 utterances of train_mls_de cannot be used, wanted at most 1.0%" in message
    assert "raise --max_quarantine_share" in message
    assert not (base / "dump/sets.tsv").exists() and not (base / "dump/train_mls_de/wav.scp").exists()


def test_a_training_set_without_utterances_of_permitted_length_is_an_error(base: Path, capsys: pytest.CaptureFixture):
    assert run(base, "--max_s=0.5") == 1
    assert "none of 12 utterances is 0.1 to 0.5 s long" in capsys.readouterr().err


def test_finished_sets_are_skipped(base: Path, capsys: pytest.CaptureFixture):
    assert run(base) == 0
    shutil.rmtree(base / "mls")
    capsys.readouterr()

    assert run(base) == 0
    assert "3 of 3 sets" in capsys.readouterr().err


def test_an_interrupted_set_resumes_with_its_missing_chunks(base: Path):
    assert run(base) == 0
    for mark in (base / "dump").glob("*/.inputs.json"):
        mark.unlink()
    for split in ("train", "dev", "test"):  # finished chunks are not read from the corpus again
        shutil.rmtree(base / f"mls/mls_german/{split}")

    assert run(base) == 0
    assert len(read_data_dir(base / "dump/train_mls_de")) == len(TRAIN_IDS)


@pytest.mark.parametrize(
    ("name", "content"),
    [("format.1.ark", b"cut"), ("format.1.ark", None), ("format.1.json", b""), ("format.1.json", b"{")],
)
def test_a_damaged_chunk_is_reported_and_converted_again(base: Path, name, content, capsys: pytest.CaptureFixture):
    assert run(base) == 0
    data = base / "dump/train_mls_de/data"
    whole = {path.name: path.read_bytes() for path in data.iterdir()}
    capsys.readouterr()
    (data / name).unlink() if content is None else (data / name).write_bytes(content)

    assert run(base) == 0
    assert f"dump/train_mls_de/data/{name}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in data.iterdir()} == whole


def test_obsolete_chunks_are_removed(base: Path):
    assert run(base) == 0
    stale = base / "dump/train_mls_de/data/format.99.json"
    stale.write_text("{}")
    stale.with_suffix(".ark").write_bytes(b"x")
    (base / "dump/train_mls_de/.inputs.json").unlink()

    assert run(base) == 0
    assert not stale.exists() and not stale.with_suffix(".ark").exists()


def test_a_directory_holds_a_limited_number_of_chunks(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zipperasr.audio.chunks.MIN_CHUNK_UTTS", 1)
    monkeypatch.setattr("zipperasr.audio.chunks.MAX_CHUNK_UTTS", 5)
    monkeypatch.setattr("zipperasr.audio.chunks.CHUNKS_OF_A_DIRECTORY", 1)
    assert run(base) == 0

    folder = base / "dump/train_mls_de"
    arks = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ark"))
    assert arks == ["data/1/format.2.ark", "data/2/format.3.ark", "data/format.1.ark"]
    entries = read_data_dir(folder)
    assert len(entries) == len(TRAIN_IDS)
    assert all(len(load_audio(entry.audio)) == 16_000 for entry in entries)
    (folder / "data/2/format.3.ark").unlink()  # as a damaged disk would
    assert run(base) == 0
    assert (folder / "data/2/format.3.ark").is_file()

    monkeypatch.setattr("zipperasr.audio.chunks.MAX_CHUNK_UTTS", 6)
    (folder / ".inputs.json").unlink()
    assert run(base) == 0
    assert len(list(folder.rglob("*.ark"))) == 2


def test_missing_output_of_stage_1_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(tmp_path) == 1
    assert "sets.tsv: no such file; run stage 1 first" in capsys.readouterr().err


def test_flac_format_without_espnet_says_how_to_install_it(
    base: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "espnet2.fileio.sound_scp", None)

    assert run(base, "--audio_format=flac") == 1
    assert "run tools/install_espnet.sh" in capsys.readouterr().err


def test_real_recordings_in_any_codec_become_16_khz(tmp_path: Path, shared_dir: Path):
    speech = shared_dir / "fixtures" / "real_speech"
    recipe = Recipe(
        tmp_path,
        "sft librispeech en both dev-clean 960 held-out test-clean 5.4 - -",
    )
    text = (tmp_path / "corpora.yaml").read_text()
    (tmp_path / "corpora.yaml").write_text(text.replace(str(tmp_path / "librispeech"), str(speech)))
    assert recipe.prepare() == 0

    assert run(tmp_path) == 0

    (entry,) = read_data_dir(tmp_path / "dump/test_librispeech_en")
    assert len(load_audio(entry.audio)) == pytest.approx(4.905 * 16_000, abs=2)


def test_a_second_run_fails_before_it_writes(base: Path, capsys: pytest.CaptureFixture, held_elsewhere):
    message = held_elsewhere(base / "dump")
    assert run(base) == 1
    assert message in capsys.readouterr().err
    assert not (base / "dump").exists()


def test_of_two_simultaneous_runs_one_works_and_the_other_fails(base: Path, root: Path):
    command = [
        sys.executable,
        "-m",
        "zipperasr.stages.format_audio",
        f"--data={base / 'data'}",
        f"--out={base / 'dump'}",
    ]
    runs = [subprocess.Popen([*command, "--nj=1"], cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [process.communicate()[1] for process in runs]
    failed = [log.splitlines()[-1] for process, log in zip(runs, logs, strict=True) if process.returncode]
    assert len(failed) <= 1 and all("another run" in line for line in failed)
    assert {name: validate_data_dir(base / "dump" / name) for name in SETS} == {k: len(v) for k, v in SETS.items()}
    assert not list((base / "dump").glob("*/.scratch.*"))
