from __future__ import annotations

import pytest

from zipperasr.datadir.set_table import SetRow
from zipperasr.score.transcripts import load_hypotheses, load_test_set

GERMAN = SetRow("test_mls_de", "test", "sft", "mls", "de")


@pytest.fixture
def german(decoded):
    """(raw, path of the hypotheses, test set)"""
    decode_dir, raw = decoded
    return raw, decode_dir / "test_mls_de" / "text", load_test_set(raw, GERMAN)


def rewrite(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_an_id_without_text_is_an_empty_hypothesis(decoded):
    decode_dir, raw = decoded
    english = load_test_set(raw, SetRow("test_librispeech_en", "test", "sft", "librispeech", "en"))
    assert load_hypotheses(decode_dir / "test_librispeech_en" / "text", english)["spk0-en2"] == ""


def test_list_multiplicity_is_read(german):
    assert german[2].repeats == {"spk0-de0": 1, "spk0-de2": 2, "spk1-de1": 1}


def test_missing_and_unknown_ids_are_reported_with_count_and_first_id(german):
    _, path, test_set = german
    rewrite(path, "spk0-de0", "spk0-xx")
    rewrite(path, "spk1-de1", "spk1-yy")
    with pytest.raises(ValueError) as error:
        load_hypotheses(path, test_set)
    assert str(error.value) == (
        f"{path}: 2 utterances have no hypothesis, first 'spk0-de0'; 2 ids are not in the test set, first 'spk0-xx'; "
        "got 3 hypotheses for the 3 utterances of test_mls_de; rerun stage 7"
    )


def test_a_second_hypothesis_for_an_id_is_an_error(german):
    _, path, test_set = german
    rewrite(path, "spk1-de1", "spk0-de0")
    with pytest.raises(ValueError, match=r"text:3: id 'spk0-de0' is listed twice; rerun stage 7"):
        load_hypotheses(path, test_set)


def test_hypotheses_that_are_not_utf8_are_an_error(german):
    _, path, test_set = german
    path.write_bytes("spk0-de0 größe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"text:1: not UTF-8"):
        load_hypotheses(path, test_set)


def test_a_set_missing_from_stage_2_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"test_mls_de/text is missing; run stage 2 \(dump/raw\) first"):
        load_test_set(tmp_path, GERMAN)


def test_an_empty_set_is_an_error(german):
    raw, _, _ = german
    (raw / "test_mls_de" / "text").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="no utterance in the test set; rerun stages 1 and 2"):
        load_test_set(raw, GERMAN)


def test_a_set_in_two_languages_is_an_error(german):
    raw, _, _ = german
    rewrite(raw / "test_mls_de" / "utt2lang", "spk1-de1 de", "spk1-de1 es")
    with pytest.raises(ValueError, match=r"got languages \['de', 'es'\], wanted one; split the set by language"):
        load_test_set(raw, GERMAN)


def test_inconsistent_tables_are_an_error(german):
    raw, _, _ = german
    rewrite(raw / "test_mls_de" / "utt2spk", "spk1-de1 ", "spk1-de9 ")
    with pytest.raises(ValueError, match=r"utt2spk: 2 ids differ from text's, first 'spk1-de1'; rerun stages 1 and 2"):
        load_test_set(raw, GERMAN)


def test_an_invalid_repeat_is_an_error(german):
    raw, _, _ = german
    rewrite(raw / "test_mls_de" / "utt2repeat", "spk1-de1 1", "spk1-de1 0")
    with pytest.raises(ValueError, match="spk1-de1: got repeat '0', wanted a whole number from 1; rerun stage 1"):
        load_test_set(raw, GERMAN)
