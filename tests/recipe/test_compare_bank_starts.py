"""The comparison of bank initialisations: its figures, computed from trainings and decodings, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from local import compare_bank_starts as compare
from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.score.scores_table import SetScore, write_scores


def row(name: str, code: str, errors: int, units: int = 100) -> SetScore:
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0, "jiwer_errors": errors, "listed_errors": errors}
    zeros = dict.fromkeys(("empty", "emptied_refs", "loops", "bursts", "language_errors", "chat_replies"), 0)
    sizes = {"utts": 1, "listed_utts": 1, "ref_units": units, "listed_ref_units": units}
    rates = dict.fromkeys(("rate", "listed_rate", "low", "high"), 100 * errors / units)
    what = {"errors": errors, "resampled_by": "utterance", "speakers": 1}
    return SetScore(name, "sft", "x", code, "wer", "whisper", **what, **counts, **zeros, **sizes, **rates)


def write_system(exp: Path, new: int, german: str = "ja", losses: tuple[float, ...] = (4.0, 3.0)) -> Path:
    """A scored system with `new` errors in Swahili and a German hypothesis."""
    decoding = exp / "decode_greedy_chunked"
    scores = [row("test_x_de", "de", 10), row("test_y_de", "de", 20, 200), row("test_x_es", "es", 40)]
    for score in [*scores, row("test_x_sw", "sw", new)]:
        (decoding / score.set / "score_wer").mkdir(parents=True)
        (decoding / score.set / "text").write_text(f"a-1 {german if score.language == 'de' else 'x'}\n")
        (decoding / score.set / "encoder_means.ark").write_bytes(b"a-1 \0BFV ")
        pair = {"reference": ["habari", "yako"], "hypothesis": ["habari", "zako"]}
        (decoding / score.set / "score_wer" / "audit.jsonl").write_text(json.dumps(pair) + "\n")
    write_scores(decoding / "scores.tsv", [*scores, row("test_x_sw", "sw", new)])
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses)]
    (exp / "dev.jsonl").write_text("\n".join(lines) + "\n")
    (exp / "train.jsonl").write_text('{"step": 1, "seconds": 20.4}\n{"step": 2, "seconds": 10.2}\n')
    save_file({"projector.own.for_sw.out.bias": torch.zeros(1500)}, exp / "model.safetensors")
    return exp


def test_a_row_has_means_over_seeds_and_other_languages_for_the_first_seed(tmp_path):
    before = write_system(tmp_path / "before", 0)
    seeds = (write_system(tmp_path / "one", 90), write_system(tmp_path / "two", 94, losses=(4.0, 2.0)))
    options = compare.Comparison(before, "sw")
    cells = compare._row(compare.System("nearest", "bank", seeds), options)
    assert cells[:7] == ["nearest", "bank", "1,500", "31 ± 0", "2", "4.00 ± 0.00", "2.50 ± 0.71"]
    assert cells[7:] == ["92.00 ± 2.83", "9.09 ± 0.00", "25.00", "3 of 3"]  # one of eleven characters; (10 + 40) / 2


def test_a_different_hypothesis_is_not_counted_as_identical(tmp_path):
    before, after = write_system(tmp_path / "before", 0), write_system(tmp_path / "after", 0, german="nein")
    assert compare.same_bits(after, before, "sw") == (1, 3)


def test_the_page_names_the_command(tmp_path):
    before = write_system(tmp_path / "before", 0)
    options = compare.Comparison(before, "sw", invocation="local/compare_bank_starts.sh --x")
    page = compare._page([compare.System("zero", "bank", (before,))], options)
    assert "# Adding sw to before" in page and "```\nlocal/compare_bank_starts.sh --x\n```" in page
    assert "| zero | bank | 1,500 | 31 | 1 | 4.00 | 3.00 | 0.00 | 9.09 | 25.00 | 3 of 3 |" in page


def test_a_variant_without_banks_is_an_error(tmp_path, capsys):
    experiment = Experiment("sft", "chunked", "vanilla", "exp/a", ("de",), 1, ModelConfig("whisper", "llm"))
    experiment.save(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert compare.main(["--init_from", str(tmp_path), "--add_lang", "sw"]) == 1
    assert "vanilla has no banks, so there are no initialisations to compare" in capsys.readouterr().err
