from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest

from tests.report.example import RUNS
from zipperasr.report.collect import added_languages, find_decodings, find_trainings, read_models
from zipperasr.report.read_files import read_config, read_json, read_jsonl, read_tsv
from zipperasr.run_record import DecodingRun, TrainingRun, save_run

SOFT = {"phase": "sft", "lora": "zipper_soft", "regime": "chunked"}


def write_trainings(exp, *runs: TrainingRun) -> list[str]:
    """Write directories a, b, ... with these records; returns their titles in the report."""
    for name, run in zip("abcdef", runs, strict=False):
        (exp / name).mkdir()
        (exp / name / "train.jsonl").touch()
        save_run(run, exp / name)
    return [model.title for model in read_models(exp).values()]


def test_labels_are_derived_from_the_record(tmp_path):
    titles = write_trainings(
        tmp_path,
        TrainingRun("align", None, "full", "30h", 1),
        TrainingRun(**SOFT, setting="1h", seed=1),
        TrainingRun(**SOFT, setting="30h", seed=2, tag="warm"),
        TrainingRun(**SOFT, setting="1h", seed=1, parents={"initial_b": "exp/x"}, initial_parts=("b", "router")),
        TrainingRun(**SOFT, setting="1h", seed=1, parents={"init_from": "exp/x"}, added=("sw", "pl")),
        TrainingRun("sft", "none", "chunked", "1h", 1, tag="long"),
    )
    wanted = ["Alignment", "zipper_soft", "zipper_soft warm (30 h)", "zipper_soft initial_b_router"]
    assert titles == [*wanted, "zipper_soft add_sw_pl", "no encoder LoRA long"]


def test_the_seed_is_shown_if_there_are_several(tmp_path):
    titles = write_trainings(tmp_path, *(TrainingRun(**SOFT, setting="1h", seed=seed) for seed in (1, 12)))
    assert titles == ["zipper_soft seed 1", "zipper_soft seed 12"]


def test_trainings_with_equal_records_are_distinguished_by_directory(tmp_path):
    assert write_trainings(tmp_path, *[TrainingRun(**SOFT, setting="1h", seed=1)] * 2) == ["a", "b"]


def test_renaming_directories_changes_only_their_names(run_dir):
    exp = run_dir / "exp"
    before = find_decodings(exp), find_trainings(exp)
    for number, name in enumerate(RUNS):
        (exp / name / "decode_greedy_chunked").rename(exp / name / f"decode_{number}")
        (exp / name).rename(exp / f"align_full_{number}_seed7")
    after = find_decodings(exp), find_trainings(exp)
    for old, new in zip(before, after, strict=True):
        assert [renamed.model.directory for renamed in new] != [one.model.directory for one in old]
        assert [without_names(renamed) for renamed in new] == [without_names(one) for one in old]


def without_names(item) -> dict:
    fields = {**vars(item), "model": {**vars(item.model), "directory": None}}
    return fields | ({"directory": None} if "directory" in fields else {})


def test_without_a_record_config_yaml_is_used(tmp_path):
    """For directories of versions without run.json, names are labels if the configuration is not sufficient."""
    configs = {
        "old_align": "phase: align\nregime: full\nlora: null\nseed: 1\n",
        "old_soft": "phase: sft\nregime: chunked\nlora: zipper_soft\nseed: 1\n",
        "old_soft_2": "phase: sft\nregime: chunked\nlora: zipper_soft\nseed: 2\n",
        "old_initial_b": "phase: sft\nregime: chunked\nlora: zipper_soft\nseed: 2\ninitial_b: exp/x\n",
        "flylora_1h": "phase: sft\nregime: chunked\nlora: flylora\nseed: 1\n",
        "flylora_30h": "phase: sft\nregime: chunked\nlora: flylora\nseed: 1\n",
        "my_model": None,
    }
    for name, text in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").touch()
        if text:
            (tmp_path / name / "config.yaml").write_text(text, encoding="utf-8")
    models = {directory.name: model for directory, model in read_models(tmp_path).items()}
    titles = {name: model.title for name, model in models.items()}
    assert titles == {
        "old_align": "Alignment",
        "old_soft": "zipper_soft seed 1",
        "old_soft_2": "zipper_soft seed 2",
        "old_initial_b": "old_initial_b",
        "flylora_1h": "flylora_1h",
        "flylora_30h": "flylora_30h",
        "my_model": "my_model",
    }
    assert (models["old_align"].phase, models["old_align"].regime) == ("align", "full")
    assert (models["my_model"].phase, models["my_model"].regime) == ("other", "")


def test_decodings_of_the_alignment_are_first(pristine_run):
    decodings = find_decodings(pristine_run / "exp")
    assert [decoding.name for decoding in decodings] == ["Alignment", "vanilla", "zipper_soft"]
    assert all(len(decoding.scores) == 19 for decoding in decodings)


def test_the_name_shows_full_context_beam_search_and_tag(run_dir):
    save_run(DecodingRun("beam4", "full", "warm"), run_dir / "exp" / "align_chunked" / "decode_greedy_chunked")
    names = [decoding.name for decoding in find_decodings(run_dir / "exp")]
    assert names == ["Alignment (full) (beam4 warm)", "vanilla", "zipper_soft"]


def test_a_decoding_without_a_record_is_shown_by_its_name(run_dir):
    (run_dir / "exp" / "align_chunked" / "decode_greedy_chunked" / "run.json").unlink()
    alignment = find_decodings(run_dir / "exp")[0]
    assert (alignment.search, alignment.regime, alignment.algorithm) == ("decode_greedy_chunked", "", "")


def test_a_damaged_record_is_an_error(run_dir):
    (run_dir / "exp" / "align_chunked" / "run.json").write_text('{"phase": "align"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"align_chunked/run.json: missing lora, regime, setting, seed"):
        find_decodings(run_dir / "exp")


def test_trainings_include_their_logs(pristine_run):
    alignment, vanilla, soft = find_trainings(pristine_run / "exp")
    assert len(alignment.train) == 400
    assert len(vanilla.dev) == 3
    assert vanilla.router_final is None
    assert soft.router_final and soft.router


def test_without_scores_the_error_names_the_stages(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is scored yet; run stages 7 and 8 first"):
        find_decodings(tmp_path)


def test_damaged_files_name_file_and_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 1}\n{"step": \n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"train.jsonl:2: not a JSON object .*; rerun the training stage"):
        read_jsonl(path)
    with pytest.raises(ValueError, match=r"train.jsonl:2: not JSON"):
        read_json(path)
    table = tmp_path / "report.tsv"
    table.write_text("# made by hand\na\tb\n1\t2\n1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"report.tsv:4: got 1 cells, wanted 2 as in its header line"):
        read_tsv(table)
    table.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"report.tsv: no header line"):
        read_tsv(table)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "more than 10,000 values, aliases expanded"),
        ("[" * 3000, "nested more than 20 levels deep"),
        ("added: [" + "x, " * 100_000 + "]", "wanted a configuration of at most"),
        ("added: [x", "not valid YAML"),
        ("- 3", "got [3], wanted the keys of a training"),
        ("base: /etc/passwd", None),
    ],
)
def test_a_foreign_configuration_is_read_within_limits(tmp_path, content, said):
    (tmp_path / "sft_x").mkdir()
    (tmp_path / "sft_x/config.yaml").write_text(content, encoding="utf-8")
    start = time.process_time()
    if said is None:  # `base` is not followed here
        assert added_languages(tmp_path) == []
        return
    for read in (lambda: added_languages(tmp_path), lambda: read_config(tmp_path / "sft_x")):
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            read()
        assert "config.yaml: " in str(caught.value) and len(str(caught.value)) < 500
    assert time.process_time() - start < 60
