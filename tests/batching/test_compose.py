"""Composed clips in manifests: every utterance once, at its own language and multiplicity, whatever the settings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from tests.model import tiny
from tests.train.tiny_recipe import SETS, options
from zipperasr.audio.clips import load_clip
from zipperasr.audio.segments import num_positions
from zipperasr.batching.clip_config import ClipConfig
from zipperasr.batching.compose import Composer
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import SCHEMA, Manifest, longest_clips_s
from zipperasr.model.prompt import batch_transcript_ids
from zipperasr.stages.build_manifest import main

PROMPT = 5
ON = ClipConfig(joined=0.4, longest_s=9.0, pause_s=(0.2, 0.8), edges=0.5, edge_s=(0.1, 1.0))


def count_tokens(texts: list[str]) -> list[int]:
    return [len(ids) for ids in batch_transcript_ids(tiny.llm_tokenizer(), texts)]


def block(count: int = 200, seconds: tuple[float, ...] = (2.0, 3.5, 5.0), **columns: list) -> pa.RecordBatch:
    """Rows of a manifest as stage 3 makes them."""
    rows = []
    for number in range(count):
        text, num_samples = f"satz {number}", int(seconds[number % len(seconds)] * 16_000)
        tokens = count_tokens([text])[0]
        row = {"utt_id": f"s-{number:03d}", "language": "de", "audio": f"a.ark:{number}", "text": text}
        row |= {"num_samples": num_samples, "num_tokens": tokens, "repeat": 1}
        row |= {name: values[number % len(values)] for name, values in columns.items()}
        rows.append(row | {"positions": PROMPT + num_positions(num_samples) + tokens})
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def composed(config: ClipConfig = ON, rows: pa.RecordBatch | None = None, max_positions: int = 400) -> list[dict]:
    return Composer(config, max_positions, count_tokens).compose(rows or block()).to_pylist()


def parts(row: dict) -> list:
    """Entries and silences of a row."""
    return json.loads(row["audio"]) if row["audio"].startswith("[") else [row["audio"]]


def entries(row: dict) -> list[str]:
    return [part for part in parts(row) if isinstance(part, str)]


def silences(row: dict) -> list[list]:
    return [part for part in parts(row) if not isinstance(part, str)]


def test_every_utterance_is_in_exactly_one_row_in_its_order():
    rows = composed()
    assert [entry for row in rows for entry in entries(row)] == [f"a.ark:{number}" for number in range(200)]
    assert " ".join(row["text"] for row in rows) == " ".join(f"satz {number}" for number in range(200))
    assert len({row["utt_id"] for row in rows}) == len(rows)


def test_counts_of_a_row_are_those_of_its_text_and_of_its_audio():
    lengths = {f"a.ark:{number}": row["num_samples"] for number, row in enumerate(block().to_pylist())}
    for row in composed():
        assert row["num_samples"] == sum(lengths[e] for e in entries(row)) + sum(s[0] for s in silences(row))
        assert row["num_tokens"] == count_tokens([row["text"]])[0]
        assert row["positions"] == PROMPT + num_positions(row["num_samples"]) + row["num_tokens"]
        assert row["utt_id"].endswith(f"+{len(entries(row)) - 1}") == (len(entries(row)) > 1)


def test_the_configured_share_is_joined_even_in_a_small_set():
    for count in (12, 40, 200):
        in_clips = sum(len(entries(row)) for row in composed(rows=block(count)) if len(entries(row)) > 1)
        assert in_clips == pytest.approx(ON.joined * count, abs=3)


def test_clips_have_many_lengths_up_to_the_longest():
    rows = composed()
    lengths = [row["num_samples"] / 16_000 for row in rows if len(entries(row)) > 1]
    assert max(row["num_samples"] for row in rows) <= ON.longest_s * 16_000
    assert max(lengths) > 8 and min(lengths) < 6


def test_a_clip_fits_into_a_pack():
    rows = composed(max_positions=100)
    assert 90 < max(row["positions"] for row in rows) <= 100
    assert any(len(entries(row)) > 1 for row in rows)


def test_silences_are_as_long_and_of_the_kinds_that_the_configuration_says():
    rows = composed(rows=block(600))
    joined = [row for row in rows if len(entries(row)) > 1]
    inner = [one for row in joined for one, before in zip(parts(row)[1:-1], parts(row), strict=False)
             if not isinstance(one, str) and isinstance(before, str)]  # fmt: skip
    assert 0.2 <= min(length for length, _ in inner) / 16_000 < 0.3 < 0.7 < max(n for n, _ in inner) / 16_000 <= 0.8
    with_edges = [row for row in rows if not (isinstance(parts(row)[0], str) and isinstance(parts(row)[-1], str))]
    assert 0.3 < len(with_edges) / len(rows) <= 0.55, "half of them, unless they would be too long"
    kinds = Counter(s[1] if isinstance(s[1], str) else "white" for row in rows for s in silences(row)[:1])
    assert all(abs(kinds[kind] / kinds.total() - share) < 0.1 for kind, share in zip(
        ("zero", "background", "white"), (0.3, 0.3, 0.4), strict=True))  # fmt: skip
    assert all(len({kind for _, kind in silences(row)}) <= 1 for row in rows), "one kind per clip"


def test_languages_and_multiplicities_are_never_mixed():
    rows = composed(rows=block(language=["de"] * 7 + ["es"] * 5, repeat=[1, 1, 1, 3, 3]))
    before = {row["audio"]: row for row in block(language=["de"] * 7 + ["es"] * 5, repeat=[1, 1, 1, 3, 3]).to_pylist()}
    assert any(len(entries(row)) > 1 for row in rows)
    for row in rows:
        for one in (before[entry] for entry in entries(row)):
            assert (one["language"], one["repeat"]) == (row["language"], row["repeat"])


def test_chinese_texts_are_joined_without_a_space():
    rows = composed(rows=block(text=["你好。", "再见"]))
    assert {row["text"] for row in rows if len(entries(row)) == 2} == {"你好。再见", "再见你好。"}


def test_the_same_settings_compose_the_same_and_another_seed_does_not():
    assert composed() == composed()
    assert composed(ClipConfig(joined=0.4, seed=2)) != composed(ClipConfig(joined=0.4))


def test_only_edges_keep_ids_and_texts():
    rows = composed(ClipConfig(edges=1.0))
    assert [(row["utt_id"], row["text"]) for row in rows] == [(f"s-{n:03d}", f"satz {n}") for n in range(200)]
    assert all(1 <= len(silences(row)) <= 2 for row in rows)


def test_an_empty_block_stays_empty():
    assert Composer(ON, 400, count_tokens).compose(block(0)).num_rows == 0


def test_the_log_says_what_was_composed():
    composer = Composer(ClipConfig(joined=0.5, longest_s=20.0, pause_s=(1.0, 1.0)), 400, count_tokens)
    composer.compose(block(4, (4.0,)))
    assert composer.counts.described() in (
        "clips: 2 of 4 training utterances joined into 1; silence around 0; 6.2% more audio; longest 9.0 s",
        "clips: 3 of 4 training utterances joined into 1; silence around 0; 12.5% more audio; longest 14.0 s",
        "clips: 4 of 4 training utterances joined into 1; silence around 0; 18.8% more audio; longest 19.0 s",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"joined": 1.5}, "joined: got 1.5, wanted 0 to 1"),
        ({"pause_s": (0.8, 0.2)}, r"pause_s: got \[0.8, 0.2\], wanted the lowest and the highest value"),
        ({"edge_s": (0.8,)}, r"edge_s: got \[0.8\], wanted the lowest and the highest value"),
        ({"edge_s": (0.0, 100.0)}, "edge_s: got 100.0, wanted 0 to 60"),
        ({"noise_db": (-50.0, 3.0)}, "noise_db: got 3.0, wanted -120 to 0"),
        ({"zero": 0.6, "background": 0.5}, "zero [+] background: got 1.1, wanted at most 1: both are shares"),
        ({"longest_s": 0.0}, "longest_s: got 0.0, wanted a finite number above 0"),
    ],
)
def test_settings_out_of_bounds_are_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        ClipConfig(**settings)


@pytest.fixture
def recipe(noise_recipe, tmp_path):
    """Stage 3 of the recipe of noise with `clips`; returns the directory of the manifests."""

    def run(**clips: object) -> Path:
        (tmp_path / "clips.yaml").write_text(yaml.safe_dump(clips), encoding="utf-8")
        paths = options(noise_recipe, raw="dump/raw")
        assert main([*paths, "--out", str(tmp_path / "manifest"), "--clips", str(tmp_path / "clips.yaml")]) == 0
        return tmp_path / "manifest"

    return run


SHORT = {"joined": 1.0, "longest_s": 4.0, "pause_s": [0.1, 0.2], "edges": 0.5, "edge_s": [0.1, 0.3]}


def test_stage_3_composes_training_sets_only_and_says_so(recipe, noise_recipe, capsys):
    made = recipe(**SHORT)
    assert "training utterances joined into" in capsys.readouterr().err
    for name, (kind, _, _, count) in SETS.items():
        found = Manifest.open(made, name)
        is_composed = [audio.startswith("[") for audio in found.table["audio"].to_pylist()]
        assert any(is_composed) == (kind == "train")
        if kind != "train":
            assert found.table.equals(Manifest.open(noise_recipe / "dump" / "manifest", name).table)
            assert len(found) == count


def test_a_training_reads_composed_rows(recipe, noise_recipe):
    manifest = Manifest.open(recipe(**SHORT), "train_y_de")
    read = ExampleReader(tiny.llm_tokenizer(), tiny.table(), tiny.FRONTEND)
    row = next(row for row in map(manifest.row, range(len(manifest))) if "+" in row["utt_id"])
    example = read(row)
    assert example.num_samples == row["num_samples"] == len(load_clip(row["audio"]))
    assert len(example.transcript) == row["num_tokens"]


def test_off_or_without_a_file_stage_3_writes_the_same_as_ever(recipe, noise_recipe, tmp_path, capsys):
    before = (noise_recipe / "dump" / "manifest" / "train_y_de.arrow").read_bytes()
    assert (recipe(joined=0, edges=0, seed=5) / "train_y_de.arrow").read_bytes() == before
    assert "clips" not in capsys.readouterr().err
    assert main([*options(noise_recipe, raw="dump/raw", out="dump/manifest"), "--clips", str(tmp_path / "none")]) == 0
    assert "is up to date" in capsys.readouterr().err


def test_other_settings_make_new_manifests(recipe, capsys):
    recipe(**SHORT)
    recipe(**SHORT)
    assert "is up to date" in capsys.readouterr().err
    recipe(**SHORT, seed=2)
    assert "training utterances joined into" in capsys.readouterr().err


def test_the_longest_clips_are_those_that_one_row_in_a_hundred_reaches():
    def manifest(lengths_s: np.ndarray) -> Manifest:
        rows = block(len(lengths_s)).to_pylist()
        for row, length in zip(rows, lengths_s, strict=True):
            row |= {"num_samples": int(length * 16_000), "positions": int(length * 10)}
        return Manifest("x", pa.Table.from_pylist(rows, SCHEMA))

    many = manifest(np.concatenate([np.linspace(2, 8, 399), [25.0]]))
    assert longest_clips_s([many], 400) == pytest.approx(7.94, abs=0.03), "one long utterance does not count"
    assert longest_clips_s([manifest(np.array([2.0, 5.0]))], 400) == 5.0
    assert longest_clips_s([manifest(np.array([2.0, 5.0]))], 40) == 2.0, "too long for a pack"
