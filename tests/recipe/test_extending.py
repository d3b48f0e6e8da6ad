"""docs/extending.md and docs/add_language.md: blocks are written, appended, applied or run unchanged and in order.

The first line of a block says what is done with it: `tsv append=PATH`, `python write=PATH`. bash is run, a diff is
applied, text is expected output. Only sizes are reduced: utterances, epochs, processes, length of hypotheses.
"""

from __future__ import annotations

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import soundfile
from safetensors import safe_open

from local.mini import backbones
from local.mini.espeak import SAMPLE_RATE_HZ, Espeak, Voice
from local.mini.plan import load_plan
from tests.recipe.checkout import copy_checkout, edit
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.plan.inventory import take_inventory
from zipperasr.prepare.dataset_table import load_datasets

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, TRAINED = DOCS / "extending.md", DOCS / "add_language.md"
BLOCK = re.compile(r"^```(\w+)(?: (write|append)=(\S+))?\n(.*?)^```$", re.M | re.S)
SIZES = {"align_train": 8, "high_train": 4, "low_train_1h": 3, "low_train_30h": 4, "dev": 2, "test": 2}
SFT = Path("exp/sft_zipper_soft_chunked")
ALIGNED = Path("exp/align_chunked/model.safetensors")


@dataclass(frozen=True)
class Block:
    """A fenced block of the page."""

    language: str
    action: str  # write | append | ""
    path: str
    text: str


def sections(page: Path = PAGE) -> dict[str, list[Block]]:
    """The blocks below each heading of a page, by the part of the heading before its colon."""
    found = {}
    for section in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        found[re.split("[:\n]", section)[0]] = [Block(*match) for match in BLOCK.findall(section)]
    return found


def follow(project: Path, blocks: list[Block]) -> str:
    """Execute the blocks in order. Returns the output of the commands."""
    printed = ""
    for block in blocks:
        if block.action:
            path = project / block.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if block.action == "write" else "a", encoding="utf-8") as stream:
                stream.write(block.text)
        elif block.language in ("bash", "diff"):
            command = ["bash", "-euo", "pipefail"] if block.language == "bash" else ["git", "apply", "-"]
            printed += call(project, command, block.text)
    return printed


def call(project: Path, command: list[str], given: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["GIT_CEILING_DIRECTORIES"] = str(
        project.parent
    )  # even if the temporary directory is inside a repository
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=project, env=environment)
    assert done.returncode == 0, f"{given}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory) -> Path:
    """The code of a fresh checkout, with small corpora and short trainings."""
    target = tmp_path_factory.mktemp("project")
    conf = copy_checkout(root, target)
    run = target / "egs2/zipper12/asr1/run.sh"
    run.write_text(run.read_text(encoding="utf-8").replace("./asr.sh ", "./asr.sh --nproc 1 "), encoding="utf-8")
    edit(conf / "decode.yaml", tokens_per_s=5)
    edit(conf / "mini_corpora.yaml", **SIZES, speaker_utts=2, repeats=1)
    for phase in ("align", "sft"):
        edit(conf / f"{phase}.yaml", epochs=1, log_every=2)
    return target


def scores(recipe: Path, system: Path | str = SFT) -> list[dict[str, str]]:
    with (recipe / system / "decode_greedy_chunked" / "scores.tsv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def banks(recipe: Path) -> set[int]:
    """The number of languages in the adapted layers."""
    with safe_open(recipe / SFT / "model.safetensors", framework="pt") as stream:
        return {stream.get_slice(name).get_shape()[0] for name in stream.keys() if name.endswith(".b_specific")}  # noqa: SIM118


@pytest.mark.parametrize("page", [PAGE, TRAINED], ids=lambda page: page.name)
def test_every_block_has_a_path_that_the_text_mentions(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(BLOCK.findall(text))
    for match in BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        assert not match[3] or f"`{match[3]}`" in before, match[3]


QUOTED = {
    heading: blocks
    for heading, blocks in sections().items()
    if blocks and all(block.language == "python" and not block.action for block in blocks)
}


@pytest.mark.parametrize("heading", QUOTED)
def test_the_code_of_an_example_equals_that_of_the_linked_tests(heading: str):
    """Every definition on the page is in a test file that its section links to."""
    (section,) = (part for part in PAGE.read_text(encoding="utf-8").split("\n## ") if part.startswith(heading))
    linked = [(DOCS / path).read_text(encoding="utf-8") for path in re.findall(r"\]\((\.\./tests/\S+\.py)\)", section)]
    for block in QUOTED[heading]:
        lines = block.text.splitlines()
        for node in ast.parse(block.text).body:
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
            code = "\n".join(lines[first - 1 : node.end_lineno])
            indented = textwrap.indent(code, "    ")
            assert any(f"\n{form}\n" in text for text in linked for form in (code, indented)), code


def test_four_examples_quote_tests():
    assert set(QUOTED) == {"A LoRA variant", "An LLM family", "A normaliser", "A figure"}


def test_the_diff_applies_to_a_new_recipe(root: Path, tmp_path: Path):
    (diff,) = [block for block in sections()["A new corpus"] if block.language == "diff"]
    changed = tmp_path / "egs2/iberia/asr1/conf/mini/corpora.yaml"
    changed.parent.mkdir(parents=True)
    shutil.copy(root / "egs2/zipper12/asr1/conf/mini/corpora.yaml", changed)
    follow(tmp_path, [diff])
    assert "village: recordings" in changed.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def polish(project: Path) -> Path:
    """The paper's recipe after a run with a thirteenth target language."""
    follow(project, sections()["A new language"])
    return project / "egs2/zipper12/asr1"


@pytest.mark.slow
def test_a_thirteenth_target_language_is_scored(polish: Path):
    rows = {row["set"]: row for row in scores(polish)}
    row = rows["test_mls_pl"]
    assert (row["language"], row["unit"], row["phase"]) == ("pl", "wer", "sft")
    assert int(row["ref_units"]) > 0 and int(row["utts"]) == SIZES["test"]
    assert len({row["language"] for row in rows.values()}) == 14
    tables = (polish / "RESULTS.md").read_text(encoding="utf-8")
    assert re.search(r"^\| system .* \| pl \|", tables, re.M)


@pytest.mark.slow
def test_the_new_language_has_a_bank_and_the_related_language_s_token(polish: Path):
    assert banks(polish) == {14}
    header, *lines = (polish / "exp/lid/cosine_token.tsv").read_text(encoding="utf-8").splitlines()
    cosines = {line.split("\t")[0]: dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines}
    assert float(cosines["pl"]["ru"]) == pytest.approx(1.0)
    assert float(cosines["pl"]["de"]) < 0.99


@dataclass(frozen=True)
class Swahili:
    recipe: Path
    printed: dict[str, str]  # output of the commands by heading
    before: dict[Path, int]  # file -> modification time before the language was added
    page: str  # RESULTS.md before


@pytest.fixture(scope="module")
def swahili(project: Path, polish: Path) -> Swahili:
    """The model with Polish, to which Swahili is added after training."""
    before = {path: path.stat().st_mtime_ns for path in (polish / ALIGNED, polish / SFT / "model.safetensors")}
    page = (polish / "RESULTS.md").read_text(encoding="utf-8")
    printed = {heading: follow(project, blocks) for heading, blocks in sections(TRAINED).items()}
    return Swahili(polish, printed, before, page)


@pytest.mark.slow
def test_an_added_language_is_scored_and_reported(swahili: Swahili):
    (row,) = [row for row in scores(swahili.recipe, f"{SFT}_add_sw") if row["language"] == "sw"]
    assert (row["set"], row["unit"], row["utts"]) == ("test_commonvoice_sw", "wer", str(SIZES["test"]))
    assert int(row["ref_units"]) > 0
    page = (swahili.recipe / "RESULTS.md").read_text(encoding="utf-8")
    added = page.partition("## Languages added to trained systems")[2].partition("\n## ")[0]
    assert re.search(r"^\| system .* \| sw \|", added, re.M) and "| `zipper_soft add_sw` |" in added
    before, after = (re.search(r"^\| `zipper_soft` .*", text, re.M)[0].split("|")[:-2] for text in (swahili.page, page))
    assert before == after, "the means of the other languages must be unchanged, except for the speed"


@pytest.mark.slow
def test_an_added_language_trains_only_its_bank_and_its_projector(swahili: Swahili):
    with safe_open(swahili.recipe / f"{SFT}_add_sw" / "model.safetensors", framework="pt") as stream:
        shapes = {name: stream.get_slice(name).get_shape() for name in stream.keys()}  # noqa: SIM118
    stacked = {name: shape for name, shape in shapes.items() if not name.startswith("projector.own.for_sw.")}
    assert {name.rpartition(".")[2] for name in stacked} == {"b_specific", "embeddings"} and len(shapes) > len(stacked)
    assert {shape[0] for shape in stacked.values()} == {1}
    assert swahili.before == {path: path.stat().st_mtime_ns for path in swahili.before}
    said = swahili.printed["The command"]
    assert "bank initialised from it, the nearest LID embedding (cosine 1.000)" in said
    assert (
        "sw: training only the new bank and the new projector; the outputs of the other languages stay bit-identical"
        in said
    )
    assert "differ from the model's" not in said
    assert "stage 5" not in said
    assert len(re.findall(r"^test_\w+ ", said, re.M)) == 1, "without --eval_lang only the new language is decoded"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text", "encoder_means.ark"])
def test_outputs_of_the_other_languages_stay_bit_identical(swahili: Swahili, name: str):
    decodings = (swahili.recipe / f"{SFT}{added}" / "decode_greedy_chunked" for added in ("", "_add_sw"))
    one, other = ((decoding / "test_mls_de" / name).read_bytes() for decoding in decodings)
    assert one == other
    assert {row["language"] for row in scores(swahili.recipe, f"{SFT}_add_sw")} == {"sw", "de"}


@pytest.mark.slow
def test_the_extended_model_can_be_opened(swahili: Swahili):
    line = swahili.printed["Using and extending the model"].splitlines()[-1]
    assert line.startswith("trained bank own_projector of sw on /") and line.endswith(f"/{SFT}")


@pytest.fixture(scope="module")
def iberia(project: Path) -> Path:
    """The recipe with two languages after a run."""
    follow(project, sections()["A new recipe"])
    return project / "egs2/iberia/asr1"


@pytest.mark.slow
def test_a_recipe_with_two_languages_contains_no_other(iberia: Path):
    rows = scores(iberia)
    assert {row["language"] for row in rows} == {"es", "pt"}
    assert all(int(row["ref_units"]) > 0 for row in rows)
    assert banks(iberia) == {2}
    with (iberia / "dump/manifest/sets.tsv").open(encoding="utf-8") as stream:
        assert {row["language"] for row in csv.DictReader(stream, delimiter="\t")} == {"es", "pt"}
    spoken = {path.parent.parent.name for path in (iberia / "downloads/mls").glob("*/*/transcripts.txt")}
    assert spoken == {"mls_spanish", "mls_portuguese_opus"}
    shared = ("asr.sh", "path.sh", "cmd.sh", "utils", "local/prepare.py", "local/mini")
    assert all((iberia / name).is_symlink() for name in shared)
    assert not any((iberia / name).is_symlink() for name in ("run.sh", "conf"))


@dataclass(frozen=True)
class Village:
    recipe: Path
    printed: str
    before: dict[Path, int]  # file -> modification time before the corpus was added


@pytest.fixture(scope="module")
def village(project: Path, iberia: Path) -> Village:
    """The recipe with two languages after a second run with the user's own recordings."""
    blocks = sections()["A new corpus"]
    before = {path: path.stat().st_mtime_ns for path in (iberia / ALIGNED, *iberia.glob("downloads/mls/*/*/*.txt"))}
    tables = [block for block in blocks if "recordings" in block.path]
    follow(project, tables)
    for block in tables:
        record(project / block.path)
    printed = follow(project, [block for block in blocks if block not in tables])
    return Village(iberia, printed, before)


def record(table: Path) -> None:
    """Synthesise the texts of a table into its audio files, at a sampling rate that stage 2 must convert."""
    espeak = Espeak()
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        _, _, audio, text = line.split("\t")
        (table.parent / audio).parent.mkdir(exist_ok=True)
        soundfile.write(table.parent / audio, espeak.say(text, "pt", Voice()).repeat(2), 2 * SAMPLE_RATE_HZ)


@pytest.mark.slow
def test_own_recordings_are_used_for_training_and_scored(village: Village):
    (row,) = [row for row in scores(village.recipe) if row["corpus"] == "village"]
    assert (row["set"], row["language"], row["utts"]) == ("test_village_pt", "pt", "2")
    assert int(row["ref_units"]) > 0
    text = (village.recipe / "dump/raw/train_village_pt/text").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 3
    sets = (village.recipe / "dump/manifest/sets.tsv").read_text(encoding="utf-8").splitlines()
    assert "train_village_pt\ttrain\tsft\tvillage\tpt" in sets
    assert not [line for line in sets if line.startswith("dev_village")]


@pytest.mark.slow
def test_a_new_corpus_changes_neither_other_corpora_nor_the_alignment(village: Village):
    assert len(village.before) > 5
    assert {path: path.stat().st_mtime_ns for path in village.before} == village.before
    assert "the mini corpora in downloads are complete" in village.printed
    assert "exp/align_chunked is up to date" in village.printed


@pytest.mark.slow
def test_the_example_reader_reports_the_error_on_the_page(village: Village, tmp_path: Path, monkeypatch):
    spec = spec_from_file_location("village", village.recipe / "local/village.py")
    reader = module_from_spec(spec)
    spec.loader.exec_module(reader)
    shutil.copytree(village.recipe / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    table = Path("recordings/pt/train.tsv")
    table.write_text(re.sub(r"(ana-02.*)\t.*", r"\1", table.read_text(encoding="utf-8")), encoding="utf-8")
    (said,) = [block.text for block in sections()["A new corpus"] if block.language == "text"]
    with pytest.raises(ValueError, match=re.escape(said.strip())):
        list(reader.read(Path("recordings"), "pt", "train"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: the directory is empty; copy the recordings there"):
        list(reader.read(Path("empty"), "pt", "train"))


def with_lines(recipe: Path, tmp_path: Path, code: str, token: str, *, in_languages: bool = True) -> tuple[Path, Path]:
    """The two tables of the recipe with the two lines of the page, for another code and token."""
    languages, datasets = (tmp_path / name for name in ("languages.tsv", "datasets.tsv"))
    for table, block in zip((languages, datasets), sections()["A new language"][:2], strict=True):
        text = (recipe / "conf" / table.name).read_text(encoding="utf-8")
        if table is datasets or in_languages:
            text += block.text.replace("pl\tru\tPolish", f"{code}\t{token}\tPolish").replace("\tpl\t", f"\t{code}\t")
        table.write_text(text, encoding="utf-8")
    return languages, datasets


def test_for_a_missing_token_the_error_suggests_a_related_language(recipe: Path, tmp_path: Path):
    languages, _ = with_lines(recipe, tmp_path, "pl", "pl")
    with pytest.raises(
        ValueError, match=r"languages.tsv: pl: .* no token <\|pl\|>; use the token of a related language"
    ):
        language_token_ids(str(backbones.SHIPPED / "whisper"), LanguageTable.load(languages))


def test_for_an_unknown_language_the_error_asks_for_a_table_line(recipe: Path, tmp_path: Path):
    languages, datasets = with_lines(recipe, tmp_path, "pl", "ru", in_languages=False)
    with pytest.raises(ValueError, match=r"datasets.tsv:\d+: unknown language 'pl'; .* add it to .*languages"):
        load_datasets(datasets, "1h", LanguageTable.load(languages))


def test_at_full_scale_the_two_lines_add_the_corpus_to_the_inventory(recipe: Path, tmp_path: Path):
    languages, datasets = with_lines(recipe, tmp_path, "pl", "pl")
    names = [item.name for item in take_inventory(datasets, languages, recipe / "conf/full/corpora.yaml", [], "1h")]
    assert [name for name in names if name.startswith("mls pl")]


def test_for_a_language_without_sentences_the_error_asks_for_texts(recipe: Path, tmp_path: Path):
    languages, datasets = with_lines(recipe, tmp_path, "nl", "de")
    with pytest.raises(ValueError, match=r"unknown language 'nl'; .* write local/mini/texts/nl.txt"):
        load_plan(recipe / "conf/mini/mini_corpora.yaml", datasets, languages)


def test_a_new_language_does_not_change_other_sentences(recipe: Path, tmp_path: Path):
    languages, datasets = with_lines(recipe, tmp_path, "pl", "ru")
    sizes = recipe / "conf/mini/mini_corpora.yaml"
    _, _, before = load_plan(sizes, recipe / "conf/datasets.tsv", recipe / "conf/languages.tsv")
    _, _, after = load_plan(sizes, datasets, languages)
    assert [part for part in after if part.language != "pl"] == before
    assert {part.kind for part in after if part.language == "pl"} == {"train", "dev", "test"}
