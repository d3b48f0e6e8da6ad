"""Errors of the command: one line each, and no partial output."""

from __future__ import annotations

import pytest

from zipperasr.exchange.export import main


@pytest.mark.parametrize(
    ("training", "options", "said"),
    [
        ("sft_vanilla", "--format peft", "--format peft needs --lang with all, or with codes from de, es, ja"),
        ("sft_vanilla", "--format peft --lang de xx", "unknown language 'xx'; choose from de, es, ja"),
        (
            "sft_vanilla",
            "--format merged",
            "--lang: got 0 languages for --format merged, wanted one of de, es, ja",
        ),
        (
            "sft_vanilla",
            "--format merged --lang de ja",
            "got 2 languages for --format merged, wanted one of de, es, ja",
        ),
        (
            "align",
            "--format merged --lang de",
            "got 1 languages for --format merged, wanted none, because the model has no encoder LoRA",
        ),
        ("sft_none", "--format peft --lang all", "de: the model has no encoder LoRA (an alignment, or --lora none)"),
        ("sft_vanilla", "--format bundle --lang de", "--format bundle does not use --lang; remove it"),
        ("sft_vanilla", "--format bundle --dtype float16", "--format bundle does not use --dtype; remove it"),
        ("sft_vanilla", "--format merged --lang de --base-name x", "--format merged does not use --base_name"),
        ("sft_vanilla", "--format peft --lang de --hub-llm x", "--format peft does not use --hub_llm"),
        ("sft_vanilla", "--format bundle", "out: wanted a file name ending in .zip"),
        ("absent", "--format peft --lang de", "config.yaml: no finished training here; run stage 5 (align) or 6 (sft)"),
    ],
)
def test_wrong_options_are_reported_in_one_line(recipe_dir, tmp_path, capsys, training, options, said):
    call = ["--model", str(recipe_dir / "exp" / training), *options.split(), "--out", str(tmp_path / "out")]
    assert main(call) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_overwritten(recipe_dir, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    call = ["--model", str(recipe_dir / "exp/sft_vanilla"), "--format", "peft", "--lang", "de", "--out", str(tmp_path)]
    assert main(call) == 1
    assert "already exists; remove it or choose another --out" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_bundle_can_be_exported_to_other_formats_but_not_bundled_again(recipe_dir, tmp_path, capsys):
    training, bundle = str(recipe_dir / "exp/sft_zipper_soft"), str(tmp_path / "m.zip")
    assert main(["--model", training, "--format", "bundle", "--out", bundle]) == 0
    for source, out in ((training, "one"), (bundle, "other")):
        assert main(["--model", source, "--format", "peft", "--lang", "ja", "--out", str(tmp_path / out)]) == 0
    weights = [tmp_path / out / "ja/adapter_model.safetensors" for out in ("one", "other")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert main(["--model", bundle, "--format", "bundle", "--out", str(tmp_path / "n.zip")]) == 1
    assert "m.zip: got a file, wanted a training directory" in capsys.readouterr().err
