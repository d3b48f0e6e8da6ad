"""Stage 0 at mini scale and reduced size: readers, lists and stages 1 and 2 accept its output."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from local import prepare as stage_0
from local.mini import corpora
from local.mini.acoustics import Accent, Channel
from local.mini.corpora import make_corpora
from local.mini.espeak import VOICE_NAMES, draw_voice
from local.mini.plan import Part, held_out_texts, load_plan
from local.mini.texts import make_sentences
from zipperasr.corpora import read_corpus
from zipperasr.corpora.mls import language_directory
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.set_table import read_sets
from zipperasr.prepare.probing import probe
from zipperasr.prepare.utterance_lists import read_list
from zipperasr.stages import format_audio, prepare_data

SIZES = {
    "align_train": 24, "high_train": 4, "low_train_1h": 3, "low_train_30h": 6,
    "dev": 2, "test": 3, "repeats": 1, "speaker_utts": 2, "seed": 7,
}  # fmt: skip

POLISH = "sft\tmls\tpl\tboth\ttrain\t103\tdev\ttest\t2.14\t-\t-"


def write_sizes(path: Path, **changes: int) -> Path:
    path.write_text("".join(f"{key}: {value}\n" for key, value in (SIZES | changes).items()))
    return path


@pytest.fixture(scope="module")
def tables(recipe: Path) -> list[str]:
    return [str(recipe / "conf/datasets.tsv"), str(recipe / "conf/languages.tsv")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tables: list[str]) -> Path:
    """All mini corpora at reduced size."""
    base = tmp_path_factory.mktemp("mini")
    make_corpora(base / "downloads", 2, write_sizes(base / "sizes.yaml"), *tables)
    return base


def test_processes_that_speak_start_without_torch():
    """multiprocessing imports the main module, stage 0's, in every process, of which there is one per few speakers."""
    code = "import sys, local.prepare, local.mini.corpora; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment) == "False\n"


def stage_1(base: Path, recipe: Path, setting: str) -> Path:
    roots = base / "corpora.yaml"
    text = (recipe / "conf/mini/corpora.yaml").read_text()
    roots.write_text(text.replace(" downloads/", f" {base}/downloads/"))
    out = base / f"data_{setting}"
    tables = [f"--datasets={recipe / 'conf/datasets.tsv'}", f"--languages={recipe / 'conf/languages.tsv'}"]
    assert prepare_data.main([*tables, f"--corpora={roots}", f"--setting={setting}", f"--out={out}", "--nj=2"]) == 0
    return out


def test_readers_find_every_planned_utterance(made: Path, tables: list[str]):
    _, _, parts = load_plan(made / "sizes.yaml", *tables)
    planned = Counter()
    for part in parts:
        planned[part.corpus, part.language, part.split] += len(part.sentences)

    for (corpus, language, split), count in planned.items():
        found = list(read_corpus(corpus, made / "downloads" / corpus, language, split))
        assert len(found) == count, (corpus, language, split)
        assert all(Path(utterance.audio).is_file() and utterance.text for utterance in found)


@pytest.mark.parametrize(
    ("corpus", "language", "split", "codec", "rates"),
    [
        ("mls", "de", "train", "FLAC", {16_000}),
        ("mls", "pt", "test", "OGG", {16_000}),
        ("commonvoice", "ar", "validated", "MP3", {32_000, 48_000}),
        ("librispeech", "en", "test-clean", "FLAC", {16_000}),
        ("msr86k", "ru", "train", "WAV", {16_000}),
        ("wenetspeech", "zh", "L", "OGG", {16_000}),
    ],
)
def test_codecs_are_those_of_the_real_corpora(
    made: Path, corpus: str, language: str, split: str, codec: str, rates: set[int]
):
    utterances = list(read_corpus(corpus, made / "downloads" / corpus, language, split))
    headers = [soundfile.info(str(utterance.audio)) for utterance in utterances]

    assert {header.format for header in headers} == {codec}
    assert {header.samplerate for header in headers} <= rates
    for utterance, header in zip(utterances, headers, strict=True):
        last_s = utterance.end_s or utterance.duration_s or header.duration
        assert last_s <= header.duration + 0.1


def test_transcripts_have_the_style_of_their_corpus(made: Path):
    def texts(corpus: str, language: str, split: str) -> list[str]:
        return [utterance.text for utterance in read_corpus(corpus, made / "downloads" / corpus, language, split)]

    assert all(text == text.upper() and "." not in text for text in texts("librispeech", "en", "dev-clean"))
    assert all(text == text.lower() and "." not in text for text in texts("mls", "es", "train"))
    assert all(text[0].isupper() and text[-1] in ".?!" for text in texts("commonvoice", "pt", "validated"))
    assert all(not set(text) & set(" 。，？") for text in texts("wenetspeech", "zh", "test_net"))


def test_training_sets_contain_no_test_or_dev_texts(made: Path, tables: list[str]):
    _, _, parts = load_plan(made / "sizes.yaml", *tables)
    held_out = held_out_texts(made / "sizes.yaml", *tables)

    assert set(held_out) == {part.language for part in parts}
    for part in parts:
        written = {sentence.written for sentence in part.sentences}
        assert bool(written & held_out[part.language]) == (part.kind != "train")


def test_more_training_sentences_do_not_change_the_test_texts(made: Path, tmp_path: Path, tables: list[str]):
    larger = write_sizes(tmp_path / "larger.yaml", align_train=80, low_train_30h=50)

    assert held_out_texts(larger, *tables) == held_out_texts(made / "sizes.yaml", *tables)


def test_lists_are_named_as_the_authors_and_have_some_repeats(made: Path, recipe: Path):
    lines = (recipe / "conf/utt_ids.tsv").read_text().splitlines()
    published = {line.split("\t")[1] for line in lines if not line.startswith("#")}
    root = made / "downloads/utt_ids"

    assert {str(path.relative_to(root)) for path in root.rglob("*.txt")} == published
    for name in published:
        counts = read_list(root / name)
        assert sum(counts.values()) == len(counts) + SIZES["repeats"]


@pytest.mark.parametrize("setting", ["1h", "30h"])
def test_stage_1_creates_every_set_in_the_table(made: Path, recipe: Path, setting: str):
    data = stage_1(made, recipe, setting)

    sizes = {row.set: len(read_data_dir(data / row.set)) for row in read_sets(data / "sets.tsv")}
    small = SIZES[f"low_train_{setting}"]
    pt = "commonvoice" if setting == "1h" else "mls"
    assert {sizes[name] for name in ("train_commonvoice_ar", "train_commonvoice_ko", f"train_{pt}_pt")} == {small}
    assert sizes["train_mls_de"] == sizes["train_commonvoice_th"] == SIZES["high_train"]
    assert sizes["train_msr86k_en"] + sizes["dev_msr86k_en"] == SIZES["align_train"]
    assert {count for name, count in sizes.items() if name.startswith("test_")} == {SIZES["test"]}


def test_stage_2_quarantines_nothing(made: Path, recipe: Path):
    data = stage_1(made, recipe, "1h")
    out = made / "dump/raw"

    assert format_audio.main([f"--data={data}", f"--out={out}", "--nj=2"]) == 0

    for row in read_sets(out / "sets.tsv"):
        assert (out / row.set / "quarantine.tsv").read_text() == "utt\treason\n"
        expected = {entry.utt: entry.duration_s for entry in read_data_dir(data / row.set)}
        for entry in read_data_dir(out / row.set):
            assert entry.duration_s == pytest.approx(expected[entry.utt], abs=0.1)


def test_same_seed_gives_the_same_corpora_for_any_number_of_processes(tmp_path: Path, recipe: Path, tables: list[str]):
    lines = (recipe / "conf/datasets.tsv").read_text().splitlines()
    wanted = ("phase\t", "sft\tmls\tde", "sft\tcommonvoice\tar", "align\twenetspeech")
    few = tmp_path / "few.tsv"
    few.write_text("".join(line + "\n" for line in lines if line.startswith(wanted)))
    sizes = write_sizes(tmp_path / "sizes.yaml", align_train=4)
    for nj in (1, 2):
        make_corpora(tmp_path / f"nj{nj}", nj, sizes, few, tables[1])

    one, two = tmp_path / "nj1", tmp_path / "nj2"
    files = [str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()]
    _, different, missing = filecmp.cmpfiles(one, two, files, shallow=False)
    assert len(files) > 40 and not missing
    for name in different:  # the encoder writes a random serial number to each Ogg stream
        assert name.endswith(".opus")
        assert np.array_equal(*(soundfile.read(folder / name)[0] for folder in (one, two)))


@pytest.mark.parametrize(("kind", "voices"), [("train", "train"), ("dev", "train"), ("test", "test")])
def test_test_speakers_have_different_voices_than_training_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, voices: str
):
    asked = []

    def draw(rng, split):
        asked.append(split)
        return draw_voice(rng, split)

    monkeypatch.setattr(corpora, "draw_voice", draw)
    part = Part("mls", "de", "train", kind, tuple(make_sentences("de", 3, 1, "recipe")))

    records = corpora._speak(
        corpora.Task(tmp_path, part, first_speaker=0, speaker_utts=2, seed=1, acoustics=(Channel(), Accent()))
    )

    assert asked == [voices, voices]
    assert [record.speaker for record in records] == ["100", "100", "137"]


def test_finished_corpora_are_skipped(made: Path, tables: list[str], capsys: pytest.CaptureFixture):
    make_corpora(made / "downloads", 2, made / "sizes.yaml", *tables)

    assert "nothing to do" in capsys.readouterr().err


def test_language_without_a_voice_fails_before_anything_is_written(
    tmp_path: Path, tables: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(VOICE_NAMES, "ko")

    with pytest.raises(ValueError, match=r"no espeak-ng voice for language 'ko'; .* in local/mini/espeak.py"):
        make_corpora(tmp_path / "downloads", 1, write_sizes(tmp_path / "sizes.yaml"), *tables)
    assert not (tmp_path / "downloads").exists()


def some_tables(directory: Path, recipe: Path, *added: str) -> list[Path]:
    """Write datasets.tsv with two rows and the given ones, and languages.tsv with Polish."""
    lines = (recipe / "conf/datasets.tsv").read_text().splitlines()
    lines = [line for line in lines if line.startswith(("phase\t", "sft\tmls\tde", "sft\tcommonvoice\tar"))]
    directory.mkdir(exist_ok=True)
    (directory / "datasets.tsv").write_text("".join(f"{line}\n" for line in [*lines, *added]))
    languages = (recipe / "conf/languages.tsv").read_text() + "pl\tpl\tPolish\twer\twhisper\tx\n"
    (directory / "languages.tsv").write_text(languages)
    return [directory / "datasets.tsv", directory / "languages.tsv"]


def contents(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """{file: (modification time, content)} without stage 0's own records."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_for_a_new_language_only_its_speech_is_synthesised(tmp_path: Path, recipe: Path, capsys):
    sizes, out = write_sizes(tmp_path / "sizes.yaml"), tmp_path / "downloads"
    make_corpora(out, 2, sizes, *some_tables(tmp_path / "before", recipe))
    before = contents(out)
    assert {path.relative_to(out).parts[0] for path in before} == {"mls", "commonvoice", "utt_ids"}

    make_corpora(out, 2, sizes, *some_tables(tmp_path / "after", recipe, POLISH))

    after = contents(out)
    assert {path: after[path] for path in before} == before
    assert {path.relative_to(out).parts[:2] for path in after.keys() - before.keys()} == {("mls", "mls_polish")}
    assert "of 1 corpora and languages" in (said := capsys.readouterr().err) and "2 were up to date" in said


@pytest.mark.parametrize("lost", ["mls/mls_german", "utt_ids/train/lite_1h/mls/train_mls_de_ids.txt"])
def test_lost_files_are_recreated_identically(tmp_path: Path, recipe: Path, lost: str):
    sizes, out = write_sizes(tmp_path / "sizes.yaml"), tmp_path / "downloads"
    tables = some_tables(tmp_path / "tables", recipe)
    make_corpora(out, 2, sizes, *tables)
    before = contents(out)
    shutil.rmtree(out / lost) if (out / lost).is_dir() else (out / lost).unlink()

    make_corpora(out, 1, sizes, *tables)

    after = contents(out)
    assert {path: found[1] for path, found in after.items()} == {path: found[1] for path, found in before.items()}
    assert all(after[path] == before[path] for path in before if "commonvoice" in path.parts)


def test_a_language_is_rebuilt_only_if_its_own_sizes_change(tmp_path: Path, tables: list[str]):
    def digests(**changes: int) -> dict[tuple[str, str], str]:
        sizes = write_sizes(tmp_path / "sizes.yaml", **changes)
        return {(share.corpus, share.language): share.digest() for share in corpora.plan_shares(sizes, *tables)}

    before = digests()
    changed = {key for key, digest in digests(low_train_1h=2).items() if digest != before[key]}
    # mls pt, the 30 h corpus, samples its sentences after commonvoice pt
    assert changed == {("mls", "pt"), *(("commonvoice", code) for code in ("ar", "ja", "ko", "pt"))}
    assert not before.items() & digests(seed=8).items()


def test_a_directory_that_stage_0_did_not_create_is_not_touched(tmp_path: Path, tables: list[str]):
    (tmp_path / "downloads/mls").mkdir(parents=True)

    with pytest.raises(ValueError, match=r"mls: exists, but stage 0 at mini scale did not make it; move it away"):
        make_corpora(tmp_path / "downloads", 1, write_sizes(tmp_path / "sizes.yaml"), *tables)


@pytest.mark.parametrize(("setting", "corpora", "lists"), [("1h", 16, 16), ("30h", 16, 15)])
def test_full_scale_lists_everything_that_is_missing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture, setting: str, corpora: int, lists: int, tables: list
):
    text = (recipe / "conf/full/corpora.yaml").read_text()
    (tmp_path / "corpora.yaml").write_text(text.replace("downloads/", f"{tmp_path}/"))
    (tmp_path / "model.yaml").write_text(f"whisper: {tmp_path}\nllm: {tmp_path}/llm\n")
    places = [f"--datasets={tables[0]}", f"--languages={tables[1]}", f"--conf={tmp_path}"]

    assert stage_0.main([f"--setting={setting}", *places]) == 1

    table, error = capsys.readouterr()
    assert table.count("\n") == 1 + corpora + lists + 2
    assert f"{corpora + 2} of {corpora + lists + 2} items are missing" in error
    assert f"{tmp_path}/llm" in table  # the backbones that model.yaml names, instead of hub ids


def by_lhotse(corpus: str, language: str, split: str, root: Path, out: Path):
    """Supervisions from lhotse's recipe, by utterance id."""
    from lhotse import recipes  # takes seconds to import

    if corpus == "mls":
        folder = language_directory(root, language)
        beside = out / folder.name  # the recipe reads all languages and splits in a directory
        beside.mkdir()
        for name in ("train", "dev", "test", "metainfo.txt"):
            (beside / name).symlink_to(folder / name)
        (name,) = recipes.prepare_mls(out, opus=folder.name.endswith("opus")).items()
        return name[1][split]["supervisions"]
    if corpus == "commonvoice":
        release = next(root.glob("cv-corpus-*"))
        return recipes.prepare_commonvoice(release, out, [language], [split])[language][split]["supervisions"]
    if corpus == "librispeech":
        return recipes.prepare_librispeech(root / "LibriSpeech", dataset_parts=split)[split]["supervisions"]
    return recipes.prepare_wenet_speech(root, [split.upper()])[split.upper()]["supervisions"]


@pytest.mark.parametrize(
    ("corpus", "language", "split"),
    [
        ("mls", "de", "train"),
        ("commonvoice", "ar", "test"),
        ("librispeech", "en", "test-other"),
        ("wenetspeech", "zh", "L"),
        ("wenetspeech", "zh", "test_net"),
    ],
)
def test_lhotses_recipes_find_the_same_utterances(made: Path, tmp_path: Path, corpus: str, language: str, split: str):
    """The corpora have the real layouts, and our readers agree with lhotse's recipes."""
    root = made / "downloads" / corpus
    theirs = {segment.id: segment for segment in by_lhotse(corpus, language, split, root, tmp_path)}
    probed = probe(read_corpus(corpus, root, language, split), tmp_path / "probed")
    ours = {utterance.id: utterance for utterances, _ in probed for utterance in utterances}

    assert ours.keys() == theirs.keys() and ours
    for utt_id, utterance in ours.items():
        assert utterance.text == theirs[utt_id].text
        assert theirs[utt_id].speaker is None or theirs[utt_id].speaker.startswith(utterance.speaker)
        assert utterance.duration_s == pytest.approx(
            theirs[utt_id].duration, abs=0.1 if corpus == "commonvoice" else 0.01
        )
