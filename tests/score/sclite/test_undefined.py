"""Where sclite crashes, does not terminate or prints uninitialised memory, ours does what its help says."""

from __future__ import annotations

import pytest

from zipperasr.score.sclite.__main__ import main


@pytest.fixture
def dump(tmp_path, monkeypatch, capfdbinary):
    def run(ref: str, hyp: str, *options: str) -> list[str]:
        (tmp_path / "ref.trn").write_text(f"{ref} (s-1)\n", encoding="utf-8")
        (tmp_path / "hyp.trn").write_text(f"{hyp} (s-1)\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        argv = ["-r", "ref.trn", "-h", "hyp.trn", "-i", "rm", "-o", "pralign", "stdout", *options]
        assert main(argv) == 0
        text = capfdbinary.readouterr().out.decode()
        return [line.rstrip() for line in text.splitlines() if line[:5] in ("REF: ", "HYP: ", ">> RE", ">> HY")]

    return run


def test_a_gap_next_to_a_word_of_more_than_40_bytes_is_asterisks(dump):
    assert dump("a" * 50 + " b", "b") == [f"REF:  {'A' * 50} b", f"HYP:  {'*' * 50} b"]


def test_a_word_wider_than_the_line_has_its_own_line(dump):
    assert dump("aaaaaaaaaaaa b", "b", "-l", "12") == [
        "REF:  AAAAAAAAAAAA",
        "HYP:  ************",
        ">> REF:  b",
        ">> HYP:  b",
    ]


def test_a_word_of_only_hyphens_is_dropped_by_dh(dump):
    assert dump("a --- b", "a b", "-c", "DH") == ["REF:  a b", "HYP:  a b"]
    assert dump("{ a / x } --- b", "a b", "-c", "DH") == ["REF:  a b", "HYP:  a b"]


def test_optional_words_in_alternations_are_split_into_characters_once(dump):
    assert dump("{ (ab) / (cd) } e", "e", "-c", "-D") == ["REF:  (a) (b) e", "HYP:          e"]
