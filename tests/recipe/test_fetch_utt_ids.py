import subprocess
from pathlib import Path

import pytest


def run(recipe: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["local/fetch_utt_ids.sh", *arguments], cwd=recipe, capture_output=True, text=True)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Two lists, of which the second does not match the table."""
    (tmp_path / "mirror/train").mkdir(parents=True)
    (tmp_path / "mirror/train/a.txt").write_text("hello\n")
    (tmp_path / "mirror/train/b.txt").write_text("changed\n")
    hello = "ce013625030ba8dba906f756967f9e9ca394464a"  # git's blob id of "hello\n"
    (tmp_path / "table.tsv").write_text(f"# blob, path\n{hello}\ttrain/a.txt\n{hello}\ttrain/b.txt\n")
    return tmp_path


def test_correct_lists_are_kept_and_wrong_ones_are_named(recipe: Path, mirror: Path):
    done = run(recipe, f"--from={mirror / 'mirror'}", f"--table={mirror / 'table.tsv'}", str(mirror / "out"))

    assert done.returncode == 1
    assert "1 of 2 are in" in done.stderr and "1 lists could not be downloaded" in done.stderr
    assert (mirror / "out/train/a.txt").read_text() == "hello\n"
    assert [path.name for path in (mirror / "out/train").iterdir()] == ["a.txt"]


def test_existing_correct_lists_are_not_downloaded_again(recipe: Path, mirror: Path):
    options = (f"--table={mirror / 'table.tsv'}", str(mirror / "out"))
    run(recipe, f"--from={mirror / 'mirror'}", *options)
    (mirror / "out/train/b.txt").write_text("hello\n")
    (mirror / "mirror/train/a.txt").unlink()

    done = run(recipe, f"--from={mirror / 'mirror'}", *options)

    assert done.returncode == 0 and "2 of 2 are in" in done.stderr


def test_help_and_missing_directory(recipe: Path):
    assert "checked" not in run(recipe, "--help").stdout and run(recipe, "--help").returncode == 0
    assert run(recipe).returncode == 2


def test_local_copies_of_the_authors_lists_have_the_right_blob_ids(recipe: Path, shared_dir: Path, tmp_path: Path):
    done = run(recipe, f"--from={shared_dir / 'utt_ids'}", str(tmp_path / "out"))

    assert "23 of 31 are in" in done.stderr and "train/lite_1h/mls/train_mls_es_ids.txt" in done.stderr
