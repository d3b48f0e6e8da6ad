from __future__ import annotations

import pytest

from zipperasr.languages import LanguageTable


@pytest.fixture
def table(recipe) -> LanguageTable:
    return LanguageTable.load(recipe / "conf" / "languages.tsv")


def test_saved_languages_are_loaded_in_their_order(table, tmp_path):
    chosen = table.chosen(["th", "de"])
    chosen.save(tmp_path / "languages.tsv")
    read = LanguageTable.load(tmp_path / "languages.tsv")
    assert read.codes == ["th", "de"]
    assert list(read) == [table["th"], table["de"]]


def test_the_error_for_an_unknown_language_names_the_table(table):
    with pytest.raises(ValueError, match=r"unknown language 'dee'; did you mean 'de'.*add it to .*languages.tsv"):
        table["dee"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sw\tsw\tSwahili\twer\twhisper", r":15: got 5 cells .*, wanted 6 to 7, 6 not empty"),
        ("sw\tsw\tSwahili\twpm\twhisper\tNukuu", r":15: sw: unknown unit 'wpm'; wer or cer"),
        ("sw\tsw\tSwahili\twer\twhisper\tNukuu\tdrop", r":15: sw: unknown marks 'drop'; no value or keep"),
        ("de\tde\tDeutsch\twer\twhisper\tBitte", r":15: language 'de' is listed twice; remove one line"),
    ],
)
def test_an_invalid_line_is_reported(recipe, tmp_path, line, message):
    path = tmp_path / "languages.tsv"
    path.write_text((recipe / "conf" / "languages.tsv").read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(ValueError, match=message):
        LanguageTable.load(path)


def test_a_table_without_languages_is_an_error(tmp_path):
    path = tmp_path / "languages.tsv"
    path.write_text("code\twhisper_token\tname\tunit\tnormaliser\tprompt\n", "utf-8")
    with pytest.raises(ValueError, match="no language in the table"):
        LanguageTable.load(path)
    path.write_text("code\ttoken\n", "utf-8")
    with pytest.raises(ValueError, match=r":1: got columns \['code', 'token'\], wanted"):
        LanguageTable.load(path)


def test_a_table_without_the_optional_column_round_trips(tmp_path):
    """Earlier versions wrote tables without this column."""
    text = "code\twhisper_token\tname\tunit\tnormaliser\tprompt\nth\tth\tThai\tcer\twhisper\tx\n"
    (tmp_path / "old.tsv").write_text(text, "utf-8")
    table = LanguageTable.load(tmp_path / "old.tsv")
    assert table["th"].marks == ""
    table.save(tmp_path / "saved.tsv")
    assert (tmp_path / "saved.tsv").read_text("utf-8") == text


def test_thai_and_arabic_are_also_scored_with_marks(table):
    assert [language.code for language in table if language.marks == "keep"] == ["th", "ar"]
