from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path

import pytest

from zipperasr.report.collect import (
    added_languages,
    find_decodings,
    find_trainings,
    parse_model,
    read_config,
    read_json,
    read_jsonl,
    read_tsv,
)


@pytest.mark.parametrize(
    ("name", "phase", "title", "regime"),
    [
        ("align_chunked", "align", "Stage 1", "chunked"),
        ("align_full_seed2", "align", "Stage 1 seed 2", "full"),
        ("sft_zipper_soft_chunked", "sft", "zipper_soft", "chunked"),
        ("sft_vanilla_full_seed3", "sft", "vanilla seed 3", "full"),
        ("sft_zipper_soft_chunked_30h_initial_b_seed12", "sft", "zipper_soft initial_b (30 h) seed 12", "chunked"),
        ("sft_flylora_full_30hours", "sft", "flylora 30hours", "full"),
        ("my_model", "other", "my_model", ""),
    ],
)
def test_model_names_are_taken_apart(name, phase, title, regime):
    model = parse_model(Path("exp") / name)
    assert (model.phase, model.title, model.regime) == (phase, title, regime)
    assert model.system == title.split(" seed")[0]


def test_decodings_come_with_alignment_first(pristine_run):
    decodings = find_decodings(pristine_run / "exp")
    assert [decoding.name for decoding in decodings] == ["Stage 1", "vanilla", "zipper_soft"]
    assert all(len(decoding.scores) == 19 for decoding in decodings)


def test_full_context_and_beam_search_show_in_the_name(run_dir):
    (run_dir / "exp" / "align_chunked" / "decode_greedy_chunked").rename(
        run_dir / "exp" / "align_chunked" / "decode_beam4_full"
    )
    names = [decoding.name for decoding in find_decodings(run_dir / "exp")]
    assert names == ["Stage 1 (full) (beam4)", "vanilla", "zipper_soft"]


def test_trainings_bring_their_logs(pristine_run):
    stage_1, vanilla, soft = find_trainings(pristine_run / "exp")
    assert len(stage_1.train) == 400
    assert len(vanilla.dev) == 3
    assert vanilla.router_final is None
    assert soft.router_final and soft.router


def test_nothing_scored_names_the_stages(tmp_path):
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
def test_a_strangers_configuration_is_read_within_bounds(tmp_path, content, said):
    (tmp_path / "sft_x").mkdir()
    (tmp_path / "sft_x/config.yaml").write_text(content, encoding="utf-8")
    start = time.monotonic()
    if said is None:  # `base` names no file to read here
        assert added_languages(tmp_path) == []
        return
    for read in (lambda: added_languages(tmp_path), lambda: read_config(tmp_path / "sft_x")):
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            read()
        assert "config.yaml: " in str(caught.value) and len(str(caught.value)) < 500
    assert time.monotonic() - start < 5
