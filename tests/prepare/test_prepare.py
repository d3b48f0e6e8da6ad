"""Stage 1 end to end on small corpora: the effect of lists, sampling and flaws on the sets."""

import shutil
from pathlib import Path

import pytest

from tests.corpora.example import (
    recording,
    write_common_voice,
    write_librispeech,
    write_noise,
    write_recordings,
    write_text,
)
from tests.corpora.own_data_example import EMBEDDED, WRITERS, write_audio
from tests.prepare.example import DEV_IDS, TEST_IDS, TRAIN_IDS, Recipe
from tests.stages.sharded import content
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.prepare.set_builder import num_held_out

LIST = "train/lite_1h/de.txt"


@pytest.fixture
def recipe_of(tmp_path: Path) -> Recipe:
    recipe = Recipe(tmp_path)
    recipe.write_mls()
    recipe.write_list(LIST, TRAIN_IDS)
    return recipe


def error_of(recipe: Recipe, capsys: pytest.CaptureFixture, *options: str) -> str:
    assert recipe.prepare(*options) == 1
    return capsys.readouterr().err


def test_train_dev_and_test_become_kaldi_directories(recipe_of: Recipe):
    assert recipe_of.prepare() == 0

    assert read_sets(recipe_of.out / "sets.tsv") == [
        SetRow("test_mls_de", "test", "sft", "mls", "de"),
        SetRow("train_mls_de", "train", "sft", "mls", "de"),
        SetRow("dev_mls_de", "dev", "sft", "mls", "de"),
    ]
    entries = read_data_dir(recipe_of.out / "train_mls_de")
    assert [entry.utt for entry in entries] == sorted(f"{utt.split('_')[0]}-{utt}" for utt in TRAIN_IDS)
    assert entries[0].speaker == "15" and entries[0].language == "de" and entries[0].duration_s == 1.0
    assert Path(entries[0].audio).is_file()
    assert len(recipe_of.ids("dev_mls_de")) == len(DEV_IDS)
    assert len(recipe_of.ids("test_mls_de")) == len(TEST_IDS)


def test_any_number_of_processes_gives_the_same_files(tmp_path: Path):
    recipe = Recipe(tmp_path)
    recipe.write_mls()
    splits = {
        "train-clean-100": ["19-198-0001", "26-495-0002"],
        "dev-clean": ["84-1-0000"],
        "test-clean": ["61-1-0000"],
    }
    write_librispeech(recipe.base / "librispeech", splits)
    recipe.write_rows(
        "sft mls de both train 1000 dev test 14.29 - -",
        "align librispeech en both train-clean-100 100 dev-clean test-clean 5.4 - -",
    )
    found = []
    for nj in (1, 2, 4):
        assert recipe.prepare(f"--nj={nj}") == 0
        found.append(content(recipe.out))
        shutil.rmtree(recipe.out)
    assert found[0] == found[1] == found[2]
    assert {"sets.tsv", "report.tsv", "train_mls_de/text", "dev_librispeech_en/text"} <= found[0].keys()


def test_only_listed_ids_are_used_for_training_and_repeats_are_counted(recipe_of: Recipe):
    recipe_of.write_list(LIST, [*TRAIN_IDS[:3], TRAIN_IDS[0], TRAIN_IDS[0]])

    assert recipe_of.prepare() == 0

    repeats = read_table(recipe_of.out / "train_mls_de" / "utt2repeat")
    assert sorted(repeats.values()) == ["1", "1", "3"]
    report = recipe_of.report("train_mls_de")
    assert (report["lines"], report["unique_ids"], report["repeats"], report["utterances"]) == ("5", "3", "2", "3")
    assert float(report["hours_with_repeats"]) == pytest.approx(5 / 3600, abs=1e-4)


def test_train_ids_that_are_in_test_are_dropped_counted_and_listed(recipe_of: Recipe):
    recipe_of.write_rows("sft mls de both train+test 1000 dev test 14.29 train/lite_{setting}/de.txt -")
    recipe_of.write_list(LIST, [*TRAIN_IDS, TEST_IDS[0]])

    assert recipe_of.prepare() == 0

    assert recipe_of.report("train_mls_de")["overlap"] == "1"
    assert (recipe_of.out / "lists/train_mls_de.overlap.txt").read_text() == f"{TEST_IDS[0]}\n"
    assert not set(recipe_of.ids("train_mls_de")) & set(recipe_of.ids("test_mls_de"))


def test_dev_excludes_training_utterances(recipe_of: Recipe):
    recipe_of.write_rows("sft mls de both train+dev 1000 dev test 14.29 train/lite_{setting}/de.txt -")
    recipe_of.write_list(LIST, [*TRAIN_IDS, DEV_IDS[0]])

    assert recipe_of.prepare() == 0

    assert recipe_of.ids("dev_mls_de") == [f"20-{DEV_IDS[1]}"]


def test_listed_ids_missing_from_the_corpus_are_reported(recipe_of: Recipe):
    recipe_of.write_list(LIST, [*TRAIN_IDS, "99_1_000000"])

    assert recipe_of.prepare("--max_missing_share=0.1") == 0

    assert recipe_of.report("train_mls_de")["missing"] == "1"
    assert "99_1_000000\ton the list" in (recipe_of.out / "lists/train_mls_de.missing.txt").read_text()


def test_too_many_missing_ids_are_an_error(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    recipe_of.write_list(LIST, [*TRAIN_IDS, "99_1_000000"])

    message = error_of(recipe_of, capsys)

    assert "train_mls_de: 1 of 13 utterances (7.7%) are not in the corpus" in message
    assert "wanted at most 1.0%" in message and "raise --max_missing_share" in message
    assert not (recipe_of.out / "train_mls_de").exists() and not (recipe_of.out / "sets.tsv").exists()


def test_transcript_without_audio_counts_as_missing(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    audio = recipe_of.base / "mls/mls_german/train/audio/15/7" / f"{TRAIN_IDS[0]}.flac"
    audio.unlink()

    assert "train_mls_de: 1 of 12 utterances" in error_of(recipe_of, capsys)
    listed = (recipe_of.out / "lists/train_mls_de.missing.txt").read_text()
    assert f"{TRAIN_IDS[0]}\tno audio file {audio}" in listed


def test_utterance_without_text_is_dropped_and_counted(recipe_of: Recipe):
    path = recipe_of.base / "mls/mls_german/train/transcripts.txt"
    path.write_text(path.read_text().replace("text von 15 7 000000", " \u00a0 "), encoding="utf-8")

    assert recipe_of.prepare() == 0

    assert recipe_of.report("train_mls_de")["empty_text"] == "1"
    assert len(recipe_of.ids("train_mls_de")) == len(TRAIN_IDS) - 1


def test_text_is_nfc_normalised_with_single_spaces(recipe_of: Recipe):
    path = recipe_of.base / "mls/mls_german/train/transcripts.txt"
    path.write_text(path.read_text().replace("text von 15 7 000000", "u\u0308ber \u3000 allem"), encoding="utf-8")

    assert recipe_of.prepare() == 0

    assert read_table(recipe_of.out / "train_mls_de/text")[f"15-{TRAIN_IDS[0]}"] == "\u00fcber allem"


def test_without_list_or_hours_all_utterances_are_used_and_logged(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    (recipe_of.base / "utt_ids" / LIST).unlink()

    assert recipe_of.prepare() == 0

    assert recipe_of.report("train_mls_de")["source"].startswith("all (no ")
    assert "list not found" in capsys.readouterr().err


def test_hours_are_sampled_with_a_fixed_seed_and_the_list_is_written(tmp_path: Path):
    row = "sft mls de both train 0.00138 dev test 14.29 train/lite_{setting}/de.txt -"  # 5 s of 12
    recipe = Recipe(tmp_path, row, table_hours=True)
    recipe.write_mls()

    assert recipe.prepare() == 0
    first = recipe.ids("train_mls_de")
    assert recipe.prepare("--seed=18") == 0
    other = recipe.ids("train_mls_de")
    assert recipe.prepare("--seed=17") == 0

    assert recipe.ids("train_mls_de") == first and len(first) == 5 == len(other) and other != first
    sampled = (tmp_path / "data/lists/train_mls_de.sampled.txt").read_text().split()
    assert sorted(sampled) == sorted(utt.partition("-")[2] for utt in first)
    assert recipe.report("train_mls_de")["source"].startswith("sample (no ")


def test_a_shortfall_is_reported_with_the_hours_of_the_table(tmp_path: Path):
    recipe = Recipe(tmp_path, table_hours=True)
    recipe.write_mls()

    assert recipe.prepare() == 0

    report = recipe.report("train_mls_de")
    assert report["utterances"] == str(len(TRAIN_IDS)) and report["table_hours"] == "1000"
    assert report["note"] == "1000.00 h short of Table I"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([*TRAIN_IDS, TRAIN_IDS[0]], "13 lines, 12 unique ids; use --strict_lists false to accept it"),
        (["99_1_000000", *TRAIN_IDS], "1 of 13 utterances are not in the corpus; use --strict_lists false"),
        (None, "list not found"),
    ],
)
def test_strict_lists_makes_flaws_errors(
    recipe_of: Recipe, capsys: pytest.CaptureFixture, ids: list[str] | None, message: str
):
    if ids is None:
        (recipe_of.base / "utt_ids" / LIST).unlink()
    else:
        recipe_of.write_list(LIST, ids)

    assert message in error_of(recipe_of, capsys, "--strict_lists=true", "--max_missing_share=0.5")


def test_strict_lists_makes_overlap_an_error(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    recipe_of.write_rows("sft mls de both train+test 1000 dev test 14.29 train/lite_{setting}/de.txt -")
    recipe_of.write_list(LIST, [*TRAIN_IDS, TEST_IDS[0]])

    assert "are in a test set: dropped; use --strict_lists false" in error_of(recipe_of, capsys, "--strict_lists=true")


def test_held_out_dev_consists_of_complete_recordings(tmp_path: Path):
    recipe = Recipe(tmp_path, "align msr86k ru both train 3000 held-out dev 8 - -")
    for split, count in (("train", 8), ("dev", 1)):
        videos = [f"{split}{number}" for number in range(count)]
        times = [(float(start), start + 0.5) for start in range(6)]
        write_recordings(tmp_path / f"msr86k/ru/{split}.json", [recording(v, f"{v}.wav", times) for v in videos])
        for video in videos:
            write_noise(tmp_path / f"msr86k/ru/{split}/{video}.wav", 6.0)

    assert recipe.prepare() == 0

    train, dev = (read_data_dir(recipe.out / f"{kind}_msr86k_ru") for kind in ("train", "dev"))
    assert len(dev) == 6 and len(train) == 42  # complete recordings of 6 utterances, a tenth of 48 or more
    assert not {entry.speaker for entry in train} & {entry.speaker for entry in dev}
    assert (train[0].start_s, train[0].end_s) == (0.0, 0.5)
    assert len(recipe.ids("train_msr86k_ru", "wav.scp")) == 7


@pytest.mark.parametrize(
    ("train", "dev"), [(2, 1), (14, 1), (48, 5), (199, 20), (200, 20), (540, 20), (800, 20), (100_000, 1000)]
)
def test_a_small_set_gives_a_tenth_and_a_large_one_a_hundredth_to_dev(train: int, dev: int):
    assert num_held_out(train) == dev


def test_common_voice_without_a_list_samples_no_official_evaluation_clips(tmp_path: Path):
    rows = {
        name: [(f"client{i:03d}", f"{name}{i}.mp3", "words") for i in range(3)] for name in ("train", "dev", "test")
    }
    rows["validated"] = [row for group in rows.values() for row in group]
    rows["other"] = [("client9", "other0.mp3", "words")]
    write_common_voice(tmp_path / "commonvoice", rows)
    for _, clip, _ in [*rows["validated"], *rows["other"]]:
        write_noise(tmp_path / "commonvoice/ar/clips" / clip)
    recipe = Recipe(tmp_path, "sft commonvoice ar 1h validated+other 1 dev test 4 train/ar.txt test/ar.txt")

    assert recipe.prepare() == 0

    assert {utt.partition("-")[2] for utt in recipe.ids("train_commonvoice_ar")} == {
        "train0", "train1", "train2", "other0",
    }  # fmt: skip


def test_an_unreadable_header_is_left_to_stage_2(tmp_path: Path):
    rows = {"train": [("c", "a.mp3", "one")], "dev": [("c", "b.mp3", "two")], "test": [("c", "d.mp3", "three")]}
    write_common_voice(tmp_path / "commonvoice", rows)
    for clip in ("a.mp3", "b.mp3", "d.mp3"):
        write_noise(tmp_path / "commonvoice/ar/clips" / clip)
    (tmp_path / "commonvoice/ar/clips/a.mp3").write_bytes(b"")
    recipe = Recipe(tmp_path, "sft commonvoice ar 1h train 1 dev test 4 - -")

    assert recipe.prepare() == 0

    assert [entry.duration_s for entry in read_data_dir(recipe.out / "train_commonvoice_ar")] == [0.0]


def test_several_test_splits_become_separate_sets(tmp_path: Path):
    recipe = Recipe(tmp_path, "sft librispeech en both train-clean-100 960 dev-clean test-clean,test-other 5,5 - -")
    splits = ["train-clean-100", "dev-clean", "test-clean", "test-other"]
    write_librispeech(tmp_path / "librispeech", {split: [f"{n}-1-0000"] for n, split in enumerate(splits, 1)})

    assert recipe.prepare() == 0

    names = [row.set for row in read_sets(recipe.out / "sets.tsv")]
    assert names[:2] == ["test_librispeech_en_clean", "test_librispeech_en_other"]
    assert recipe.ids("test_librispeech_en_other") == ["4-4-1-0000"]
    assert read_table(recipe.out / "train_librispeech_en/text")["1-1-1-0000"] == "some words of it"  # lower case


def test_a_finished_stage_is_skipped(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    assert recipe_of.prepare() == 0
    before = (recipe_of.out / "train_mls_de/text").stat().st_mtime_ns
    assert recipe_of.prepare() == 0

    assert "nothing to do" in capsys.readouterr().err
    assert (recipe_of.out / "train_mls_de/text").stat().st_mtime_ns == before


def test_changed_list_runs_the_stage_again(recipe_of: Recipe):
    assert recipe_of.prepare() == 0
    recipe_of.write_list(LIST, TRAIN_IDS[:5])
    assert recipe_of.prepare() == 0

    assert len(recipe_of.ids("train_mls_de")) == 5


def test_a_changed_transcript_runs_the_stage_again(recipe_of: Recipe):
    """MLS has it three levels below the root."""
    assert recipe_of.prepare() == 0
    path = recipe_of.base / "mls/mls_german/train/transcripts.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("text von", "anderer"), encoding="utf-8")
    assert recipe_of.prepare() == 0

    assert "anderer" in (recipe_of.out / "train_mls_de/text").read_text(encoding="utf-8")


@pytest.mark.parametrize(("reader", "write"), [(WRITERS["kaldi"]), EMBEDDED["save_to_disk"]], ids=["kaldi", "datasets"])
def test_a_changed_directory_of_own_data_runs_the_stage_again(tmp_path: Path, reader: str, write):
    """In the directory of a language, written over in place, as links of a recipe see it."""
    write_audio(tmp_path / "lists")
    for split in ("train", "test"):
        write(tmp_path / "lists", split)
        (tmp_path / "own/es").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own/es" / split).symlink_to(tmp_path / "lists" / split)
    recipe = Recipe(tmp_path, f"sft own:{reader} es both train - - test 0 - -")
    write_text(tmp_path / "corpora.yaml", f"roots: {{own: {tmp_path}/own}}", "utt_ids: none", "table_hours: false")
    languages = (tmp_path / "languages.tsv").read_text(encoding="utf-8").replace("ar\tar\tar", "es\tes\tes")
    (tmp_path / "languages.tsv").write_text(languages, encoding="utf-8")
    assert recipe.prepare() == 0

    for path in sorted((tmp_path / "lists/train").iterdir()):
        path.write_bytes(path.read_bytes().replace("buenos días".encode(), b"buenas noche"))
    assert recipe.prepare() == 0

    assert (recipe.out / "train_own_es/text").read_text().split(" ", 1)[1] == "buenas noche\n"


def test_a_duplicate_id_in_the_corpus_is_an_error(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    path = recipe_of.base / "mls/mls_german/train/transcripts.txt"
    path.write_text(path.read_text() + f"{TRAIN_IDS[0]}\tnoch einmal\n", encoding="utf-8")

    assert f"id '{TRAIN_IDS[0]}' is repeated in mls de" in error_of(recipe_of, capsys)


def test_an_empty_set_is_an_error(recipe_of: Recipe, capsys: pytest.CaptureFixture):
    recipe_of.write_rows("sft mls de both train+dev 1000 dev test 14.29 train/lite_{setting}/de.txt -")
    recipe_of.write_list(LIST, [*TRAIN_IDS, *DEV_IDS])

    assert "dev_mls_de: no utterances are left" in error_of(recipe_of, capsys)


def test_missing_sets_table_names_the_stage(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"sets.tsv: no such file; run stage 1 first"):
        read_sets(tmp_path / "data/sets.tsv")
    with pytest.raises(FileNotFoundError, match="run stage 2 first"):
        read_sets(tmp_path / "dump/raw/sets.tsv")


def test_real_recordings_become_a_valid_data_dir(tmp_path: Path, shared_dir: Path):
    speech = shared_dir / "fixtures" / "real_speech"
    recipe = Recipe(tmp_path, "sft librispeech en both dev-clean 960 held-out test-clean 5.4 - -")
    text = (tmp_path / "corpora.yaml").read_text()
    (tmp_path / "corpora.yaml").write_text(text.replace(str(tmp_path / "librispeech"), str(speech)))

    assert recipe.prepare() == 0

    (entry,) = read_data_dir(recipe.out / "test_librispeech_en")
    assert entry.utt == "61-61-70968-0000" and entry.duration_s == pytest.approx(4.905)
    assert entry.text.startswith("he began a confused complaint")


def test_a_second_run_fails_before_it_writes(recipe_of: Recipe, capsys: pytest.CaptureFixture, held_elsewhere):
    message = held_elsewhere(recipe_of.out)
    assert message in error_of(recipe_of, capsys)
    assert not recipe_of.out.exists()


def test_a_row_without_a_training_split_has_test_sets_only(recipe_of: Recipe):
    recipe_of.write_rows("sft mls de both - - - test 14.29 - -")

    assert recipe_of.prepare() == 0

    assert [row.set for row in read_sets(recipe_of.out / "sets.tsv")] == ["test_mls_de"]
