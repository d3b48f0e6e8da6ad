from __future__ import annotations

import json
import shutil

import pytest

from tests.score.example import SENTENCES
from zipperasr.score.normalise import NORMALISERS
from zipperasr.score.scores_table import read_scores
from zipperasr.stages.score import main


def scores(decode_dir):
    return {(row.set, row.normaliser): row for row in read_scores(decode_dir / "scores.tsv")}


def test_every_language_is_scored_with_its_unit_and_normaliser(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    assert main(score_argv) == 0
    rows = scores(decode_dir)
    assert {row.language for row in rows.values()} == set(SENTENCES)
    assert {row.language for row in rows.values() if row.unit == "cer"} == {"th", "zh", "ja", "ko"}
    assert {row.language for row in rows.values() if row.normaliser == "whisper_en"} == {"en"}
    for row in rows.values():
        suffix = "_whisper_marks" if row.normaliser == "whisper_marks" else ""
        directory = decode_dir / row.set / f"score_{row.unit}{suffix}"
        assert {path.name for path in directory.iterdir()} >= {"ref.trn", "hyp.trn", "result.txt", "audit.jsonl"}
    assert "test_msr86k_vi" in capsys.readouterr().out


def test_counts_of_one_set(decoded, score_argv):
    """de: `heuser` instead of `häuser` in eight words; the last utterance, one word, is listed twice."""
    decode_dir, _ = decoded
    main(score_argv)
    row = scores(decode_dir)["test_mls_de", "whisper"]
    assert (row.utts, row.ref_units, row.errors, row.substitutions, row.rate) == (3, 8, 1, 1, 12.5)
    assert (row.listed_utts, row.listed_ref_units, row.listed_errors, row.listed_rate) == (4, 9, 1, 11.1111)
    assert row.jiwer_errors == 1


def test_a_set_of_one_utterance_without_faults_has_a_row_of_numbers(decoded, score_argv):
    decode_dir, raw = decoded
    for path in (*(raw / "test_mls_de").glob("[tu]*"), decode_dir / "test_mls_de" / "text"):
        first, *_ = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(first, encoding="utf-8")
    assert main(score_argv) == 0
    row = scores(decode_dir)["test_mls_de", "whisper"]
    assert (row.utts, row.language_errors) == (1, 0)


def test_intervals_contain_the_rate_and_name_what_was_resampled(decoded, score_argv, capsys):
    """Three utterances of two speakers are too few to resample speakers."""
    decode_dir, _ = decoded
    main(score_argv)
    rows = scores(decode_dir)
    assert {(row.resampled_by, row.speakers) for row in rows.values()} == {("utterance", 2)}
    assert all(row.low <= row.rate <= row.high for row in rows.values())
    row = rows["test_mls_de", "whisper"]
    assert f" {row.low:.2f} to {row.high:.2f}, 3 utts " in capsys.readouterr().out


def test_speakers_are_resampled_if_there_are_enough(decoded, score_argv, capsys):
    decode_dir, raw = decoded
    name = "test_mls_de"
    for path in (raw / name / "text", raw / name / "utt2spk", raw / name / "utt2lang", decode_dir / name / "text"):
        value = {"utt2spk": "s{0}", "utt2lang": "de"}.get(path.name, "ja")
        lines = [f"s{n:02d}-{utt} {value.format(f'{n:02d}')}\n" for n in range(12) for utt in range(3)]
        path.write_text("".join(lines), encoding="utf-8")
    (raw / name / "utt2repeat").unlink(missing_ok=True)
    assert main(score_argv) == 0
    row = scores(decode_dir)[name, "whisper"]
    assert (row.resampled_by, row.speakers, row.low, row.high) == ("speaker", 12, 0.0, 0.0)
    assert "0.00 to 0.00, 12 speakers" in capsys.readouterr().out


def test_scores_without_intervals_are_computed_again(decoded, score_argv, monkeypatch):
    decode_dir, _ = decoded
    monkeypatch.setattr("zipperasr.score.score_decodings.SCORING", 1)
    main(score_argv)
    for path in decode_dir.glob("*/score_*/score.json"):
        old = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key != "low"}
        path.write_text(json.dumps(old), encoding="utf-8")
    monkeypatch.undo()
    assert main(score_argv) == 0
    assert scores(decode_dir)["test_mls_de", "whisper"].high > 0


def test_cer_ignores_spaces(decoded, score_argv):
    """ko: a missing space is not an error, a missing character is."""
    decode_dir, _ = decoded
    main(score_argv)
    row = scores(decode_dir)["test_commonvoice_ko", "whisper"]
    assert (row.ref_units, row.deletions, row.errors) == (15, 1, 1)


def test_empty_hypothesis_is_counted_and_scored_as_deletions(decoded, score_argv):
    decode_dir, _ = decoded
    main(score_argv)
    row = scores(decode_dir)["test_librispeech_en", "whisper_en"]
    assert (row.empty, row.deletions) == (1, 2)


def test_thai_and_arabic_are_scored_with_and_without_marks(decoded, score_argv):
    """th: a missing vowel sign makes one grapheme wrong, which only `whisper_marks` counts."""
    decode_dir, _ = decoded
    text = decode_dir / "test_commonvoice_th" / "text"
    text.write_text(text.read_text("utf-8").replace("สวัสดีครับ", "สวัสดีครบ"), "utf-8")
    main(score_argv)
    rows = scores(decode_dir)
    assert {row.language for row in rows.values() if row.normaliser == "whisper_marks"} == {"th", "ar"}
    with_marks, without = rows["test_commonvoice_th", "whisper_marks"], rows["test_commonvoice_th", "whisper"]
    assert with_marks.ref_units == without.ref_units
    assert (with_marks.errors, without.errors) == (2, 1)


def test_hypotheses_with_known_faults_are_counted_and_flagged(decoded, score_argv):
    decode_dir, _ = decoded
    text = decode_dir / "test_mls_de" / "text"
    loop = "fünf große fünf große fünf große fünf große häuser"
    text.write_text(text.read_text("utf-8").replace("fünf große heuser", loop).replace("ja", "добрый день"), "utf-8")
    (text.parent / "retried").write_text("spk0-de0\nspk1-de1\n", "utf-8")
    main(score_argv)
    row = scores(decode_dir)["test_mls_de", "whisper"]
    assert (row.loops, row.bursts, row.language_errors, row.rtf, row.retried) == (1, 1, 1, 0.11111, 2)
    assert scores(decode_dir)["test_mls_es", "whisper"].retried == 0, "an earlier decoding did not record them"
    audit = (decode_dir / "test_mls_de" / "score_wer" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["flags"] for line in audit) == [[], ["loop", "burst"], ["script"]]


def test_audit_has_the_text_before_and_after_normalisation(decoded, score_argv):
    decode_dir, _ = decoded
    main(score_argv)
    lines = (decode_dir / "test_librispeech_en" / "score_wer" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert first["raw_reference"] == "Nine one two, please."
    assert first["reference"] == ["912", "please"]
    assert first["operations"] == "CC"


def test_a_reference_that_is_empty_after_normalisation_is_counted_and_logged(decoded, score_argv, capsys):
    decode_dir, raw = decoded
    text = raw / "test_mls_es" / "text"
    text.write_text(text.read_text(encoding="utf-8").replace("Sí", "(¡…!)"), encoding="utf-8")
    assert main(score_argv) == 0
    row = scores(decode_dir)["test_mls_es", "whisper"]
    assert (row.emptied_refs, row.insertions) == (1, 1)
    assert "1 references are empty after normalisation" in capsys.readouterr().err


def test_lower_counts_of_jiwer_are_summed_up_in_the_log(decoded, score_argv, capsys):
    """For sclite, two deletions and two insertions cost as much as three substitutions; jiwer finds fewer edits."""
    decode_dir, raw = decoded
    for name in ("test_mls_de", "test_mls_es"):
        for path, texts in ((raw / name / "text", "c d d b a"), (decode_dir / name / "text", "b a a b")):
            ids = [line.split(" ")[0] for line in path.read_text(encoding="utf-8").splitlines()]
            path.write_text("".join(f"{utt} {texts}\n" for utt in ids), encoding="utf-8")
    assert main(score_argv) == 0
    logged = capsys.readouterr().err
    assert "16 test sets scored; 6 errors more than jiwer's minimum edit count (score_*/notes.txt)" in logged
    assert logged.count("jiwer's") == 1
    notes = (decode_dir / "test_mls_de" / "score_wer" / "notes.txt").read_text(encoding="utf-8")
    assert notes.startswith("3 errors above jiwer's least-edit count, in 3 utterances")
    assert main(score_argv) == 0
    assert "6 errors more than jiwer's" in capsys.readouterr().err, "also for scores that are up to date"


def test_a_second_run_is_skipped_and_changed_hypotheses_are_scored_again(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    main(score_argv)
    before = (decode_dir / "scores.tsv").read_bytes()
    written = (decode_dir / "test_mls_de" / "score_wer" / "result.txt").stat().st_mtime_ns
    capsys.readouterr()
    assert main(score_argv) == 0
    assert (decode_dir / "scores.tsv").read_bytes() == before
    assert (decode_dir / "test_mls_de" / "score_wer" / "result.txt").stat().st_mtime_ns == written
    assert "test_mls_de/score_wer: up to date" in capsys.readouterr().err
    text = decode_dir / "test_mls_de" / "text"
    text.write_text(text.read_text(encoding="utf-8").replace("heuser", "häuser"), encoding="utf-8")
    assert main(score_argv) == 0
    assert scores(decode_dir)["test_mls_de", "whisper"].errors == 0


def test_a_missing_hypothesis_is_reported_in_one_line_and_no_table_is_written(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    (decode_dir / "test_mls_de" / "text").write_text("spk0-de0 die\n", encoding="utf-8")
    assert main(score_argv) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stage 8: error:")
    assert "2 utterances have no hypothesis, first 'spk0-de2'" in last
    assert not (decode_dir / "scores.tsv").exists()


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("exp/sft_vanilla_chunked/decode_greedy_chunked", "no hypotheses; run stage 7 (decoding) first"),
        ("dump/raw/sets.tsv", "run stage 2 first"),
        ("dump/raw/test_mls_de/utt2lang", "utt2lang is missing; run stage 2 (dump/raw) first"),
    ],
)
def test_missing_inputs_name_the_stage_to_run(decoded, score_argv, capsys, tmp_path, remove, message):
    (tmp_path / remove).rename(tmp_path / "elsewhere")
    assert main(score_argv) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_decoded_set_unknown_to_stage_2_is_an_error(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    (decode_dir / "test_mls_de").rename(decode_dir / "test_mls_xx")
    assert main(score_argv) == 1
    assert "'test_mls_xx' is not in" in capsys.readouterr().err.splitlines()[-1]


def test_a_language_missing_from_the_table_is_an_error(decoded, score_argv, capsys, tmp_path, recipe):
    lines = (recipe / "conf" / "languages.tsv").read_text(encoding="utf-8").splitlines()
    short = tmp_path / "languages.tsv"
    short.write_text("\n".join(line for line in lines if not line.startswith("ja")) + "\n", encoding="utf-8")
    assert main([*score_argv[:-1], str(short)]) == 1
    assert f"language 'ja' has no line in {short}; add it there" in capsys.readouterr().err.splitlines()[-1]


def test_unknown_normaliser_in_the_table_fails_before_any_work(decoded, score_argv, capsys, tmp_path, recipe):
    table = (recipe / "conf" / "languages.tsv").read_text(encoding="utf-8").replace("whisper_en", "whisper_eng")
    wrong = tmp_path / "languages.tsv"
    wrong.write_text(table, encoding="utf-8")
    assert main([*score_argv[:-1], str(wrong)]) == 1
    assert "unknown normaliser 'whisper_eng'; did you mean 'whisper_en'" in capsys.readouterr().err
    assert not list(decoded[0].glob("*/score_*"))


def test_a_normaliser_is_added_by_one_function_and_one_registry_line(
    decoded, score_argv, tmp_path, recipe, monkeypatch
):
    def without_vowels(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter not in "aeiouäöü.")

    monkeypatch.setitem(NORMALISERS, "without_vowels", without_vowels)
    table = (recipe / "conf" / "languages.tsv").read_text(encoding="utf-8").splitlines()
    changed = [line.replace("\twhisper\t", "\twithout_vowels\t") if line.startswith("de\t") else line for line in table]
    (tmp_path / "languages.tsv").write_text("\n".join(changed) + "\n", encoding="utf-8")
    assert main([*score_argv[:-1], str(tmp_path / "languages.tsv")]) == 0
    assert scores(decoded[0])["test_mls_de", "without_vowels"].errors == 0, "heuser and häuser are the same now"


def test_several_decodings_can_be_scored_in_one_call(decoded, score_argv):
    decode_dir, _ = decoded
    other = decode_dir.with_name("decode_beam4_chunked")
    shutil.copytree(decode_dir, other)
    assert main([*score_argv[:2], str(other), *score_argv[2:]]) == 0
    assert scores(other) == scores(decode_dir)


def test_for_a_training_directory_all_its_decodings_are_scored(decoded, score_argv, capsys, tmp_path):
    decode_dir, common = decoded[0], score_argv[2:]
    assert main(["--exp", str(decode_dir.parent), *common]) == 0
    assert capsys.readouterr().out.startswith(f"{decode_dir}\n")
    assert main(["--exp", str(tmp_path / "none"), *common]) == 1
    assert "decode_*: no decoding; run stage 7 first" in capsys.readouterr().err
    assert main(common) == 1
    assert "pass training directories with --exp" in capsys.readouterr().err


def test_a_second_scoring_fails_before_it_writes(decoded, score_argv, capsys, held_elsewhere):
    decode_dir, _ = decoded
    message = held_elsewhere(decode_dir / "test_mls_de" / "score_wer")
    assert main(score_argv) == 1
    assert message in capsys.readouterr().err
    assert not (decode_dir / "test_mls_de" / "score_wer").exists()
