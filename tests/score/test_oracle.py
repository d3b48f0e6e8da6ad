"""Oracle error rates equal a count with jiwer over all alternatives, and are skipped without n-best lists."""

from __future__ import annotations

import json

import jiwer
import pytest

from zipperasr.decode.alternatives import FILE, Alternative, write_nbest
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import find_decodings
from zipperasr.report.tables import oracle_table
from zipperasr.score.oracle import TABLE, read_oracle
from zipperasr.score.scores_table import read_scores
from zipperasr.stages.score import main

MORE = {  # further alternatives of some utterances
    "spk0-de0": ["Die Straße ist lang"],
    "spk1-de1": ["fünf häuser", "FÜNF große Häuser!", "fünf grosse heuser"],
    "spk0-ko0": ["안녕 하세요 여러분"],
    "spk1-ko1": ["오늘은 월요", "오늘은월요일"],
    "spk1-th1": ["วันนี้อากาศดี"],
}


def write_lists(decode_dir, name: str) -> dict[str, list[str]]:
    """nbest.jsonl of a test set; returns the texts of each list."""
    lists = {}
    for line in (decode_dir / name / "text").read_text(encoding="utf-8").splitlines():
        utt_id, _, text = line.partition(" ")
        lists[utt_id] = [text, *MORE.get(utt_id, [])]
    scored = {utt: tuple(Alternative(text, -n / 7) for n, text in enumerate(found)) for utt, found in lists.items()}
    write_nbest(decode_dir / name / FILE, scored, list(lists))
    return lists


def oracles(decode_dir):
    return {(row.set, row.normaliser): row for row in read_oracle(decode_dir / TABLE)}


def test_errors_are_those_of_the_best_alternative_in_the_unit_of_the_language(decoded, score_argv):
    decode_dir, _ = decoded
    names = ("test_mls_de", "test_commonvoice_ko", "test_commonvoice_th")
    lists = {name: write_lists(decode_dir, name) for name in names}
    assert main(score_argv) == 0
    found, scores = (
        oracles(decode_dir),
        {(row.set, row.normaliser): row for row in read_scores(decode_dir / "scores.tsv")},
    )
    assert set(found) == {(name, "whisper") for name in names} | {("test_commonvoice_th", "whisper_marks")}
    for key, row in found.items():
        assert (row.errors, row.ref_units, row.rate) == (
            scores[key].errors,
            scores[key].ref_units,
            pytest.approx(scores[key].rate, abs=1e-3),
        )
        assert row.oracle_rate == pytest.approx(100 * row.oracle_errors / row.ref_units)
        assert row.nbest == max(map(len, lists[row.set].values()))
        assert row.texts == pytest.approx(sum(map(len, lists[row.set].values())) / row.utts, abs=1e-5)
    assert (found["test_mls_de", "whisper"].errors, found["test_mls_de", "whisper"].oracle_errors) == (1, 0)
    assert (found["test_commonvoice_ko", "whisper"].errors, found["test_commonvoice_ko", "whisper"].oracle_errors) == (
        1,
        0,
    )
    assert (found["test_commonvoice_th", "whisper"].errors, found["test_commonvoice_th", "whisper"].oracle_errors) == (
        1,
        0,
    )


def test_an_independent_count_of_many_alternatives_agrees(decoded, score_argv):
    """jiwer counts the least edits; with one kind of error in each alternative, sclite's costs find as many."""
    decode_dir, raw = decoded
    reference = [f"w{n}" for n in range(12)]
    ids = [line.split(" ")[0] for line in (raw / "test_mls_de" / "text").read_text(encoding="utf-8").splitlines()]
    texts = {
        utt: [
            " ".join("x" if (n * 7 + k * (1 + place)) % 5 < 2 else word for n, word in enumerate(reference))
            for k in range(6)
        ]
        for place, utt in enumerate(ids)
    }
    (raw / "test_mls_de" / "text").write_text(
        "".join(f"{utt} {' '.join(reference)}\n" for utt in ids), encoding="utf-8"
    )
    (decode_dir / "test_mls_de" / "text").write_text(
        "".join(f"{utt} {texts[utt][0]}\n" for utt in ids), encoding="utf-8"
    )
    write_nbest(
        decode_dir / "test_mls_de" / FILE,
        {utt: tuple(Alternative(text, -1.0) for text in found) for utt, found in texts.items()},
        ids,
    )
    assert main(score_argv) == 0
    edits = {
        utt: [
            out.substitutions + out.deletions + out.insertions
            for out in (jiwer.process_words(" ".join(reference), text) for text in found)
        ]
        for utt, found in texts.items()
    }
    row = oracles(decode_dir)["test_mls_de", "whisper"]
    assert row.errors == sum(found[0] for found in edits.values())
    assert row.oracle_errors == sum(map(min, edits.values())) < row.errors


def test_there_is_no_table_without_lists_and_scores_are_computed_again_with_new_ones(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    assert main(score_argv) == 0
    assert not (decode_dir / TABLE).exists() and not list(decode_dir.rglob("oracle.json"))
    write_lists(decode_dir, "test_mls_de")
    assert main(score_argv) == 0
    before = (decode_dir / TABLE).read_bytes()
    assert len(oracles(decode_dir)) == 1
    capsys.readouterr()
    assert main(score_argv) == 0
    assert "test_mls_de/score_wer: up to date" in capsys.readouterr().err
    assert (decode_dir / TABLE).read_bytes() == before
    (decode_dir / "test_mls_de" / FILE).unlink()
    assert main(score_argv) == 0
    assert not (decode_dir / TABLE).exists()


def test_shards_write_the_same_table(decoded, score_argv):
    decode_dir, _ = decoded
    for name in ("test_mls_de", "test_commonvoice_ko"):
        write_lists(decode_dir, name)
    for shard in ("1/2", "2/2", "merge/2"):
        assert main([*score_argv, "--shard", shard]) == 0
    found = (decode_dir / TABLE).read_bytes()
    (decode_dir / TABLE).unlink()
    assert main(score_argv) == 0
    assert (decode_dir / TABLE).read_bytes() == found


def test_lists_of_other_hypotheses_are_an_error(decoded, score_argv, capsys):
    decode_dir, _ = decoded
    write_lists(decode_dir, "test_mls_de")
    path = decode_dir / "test_mls_de" / FILE
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    assert main(score_argv) == 1
    missing = json.loads(lines[0])["id"]
    message = f"the first texts of 1 lists differ from {decode_dir}/test_mls_de/text, '{missing}'; rerun stage 7"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"), [("", "oracle.tsv:1: got columns ''"), ("HEAD\na\tb\n", "oracle.tsv:2: zip")]
)
def test_a_damaged_table_is_an_error_with_file_and_line(decoded, score_argv, text, message):
    decode_dir, _ = decoded
    write_lists(decode_dir, "test_mls_de")
    main(score_argv)
    header = (decode_dir / TABLE).read_text(encoding="utf-8").split("\n")[0]
    (decode_dir / TABLE).write_text(text.replace("HEAD", header), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_oracle(decode_dir / TABLE)


def test_the_report_shows_the_oracle_beside_the_error_rate(decoded, score_argv, recipe):
    decode_dir, _ = decoded
    languages = LanguageTable.load(recipe / "conf" / "languages.tsv")
    exp = decode_dir.parents[1]
    assert main(score_argv) == 0
    assert oracle_table(find_decodings(exp), languages) == ""
    write_lists(decode_dir, "test_mls_de")
    write_lists(decode_dir, "test_commonvoice_th")
    assert main(score_argv) == 0
    lines = oracle_table(find_decodings(exp), languages).splitlines()
    assert lines[0].endswith("| test set | unit | N | error rate, % | oracle of N best, % |")
    assert [line.split("| ", 4)[-1] for line in lines[2:]] == [
        "test_commonvoice_th | CER | 2 | 4.00 | 0.00 |",
        "test_mls_de | WER | 4 | 12.50 | 0.00 |",
    ]
