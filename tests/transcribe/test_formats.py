from __future__ import annotations

import json

from zipperasr.transcribe.formats import FORMATS
from zipperasr.transcribe.transcript import Segment, Token, Transcript, Word

TWO = Transcript(
    "guten tag <b> & gut",
    "de",
    {"de": 0.75, "es": 0.25},
    (Segment(0.0, 1.5, "guten tag"), Segment(1.5, 31.0, "", "silence"), Segment(3661.0, 3662.25, "<b> & gut")),
)


def test_srt():
    assert FORMATS["srt"]("a", TWO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nguten tag\n\n2\n01:01:01,000 --> 01:01:02,250\n<b> & gut\n"
    )


def test_vtt_escapes_markup():
    assert FORMATS["vtt"]("a", TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nguten tag\n\n01:01:01.000 --> 01:01:02.250\n&lt;b&gt; &amp; gut\n"
    )


def test_json_has_text_language_and_segments():
    found = json.loads(FORMATS["json"]("a.wav", TWO))
    assert found["id"] == "a.wav" and found["lang_probs"] == {"de": 0.75, "es": 0.25}
    silent = {"start_s": 1.5, "end_s": 31.0, "text": "", "note": "silence", "words": [], "avg_logprob": None}
    assert found["segments"][1] == silent


def test_json_has_words_but_no_tokens():
    segment = Segment(0.0, 1.5, "guten", words=(Word("guten", 0.5),), avg_logprob=-1.0, tokens=(Token("guten", -1.0),))
    found = json.loads(FORMATS["json"]("a.wav", Transcript("guten", "de", segments=(segment,))))
    assert found["segments"][0]["words"] == [{"text": "guten", "confidence": 0.5, "start_s": None, "end_s": None}]
    assert found["segments"][0]["avg_logprob"] == -1.0 and "tokens" not in found["segments"][0]


def test_trn_replaces_blanks_and_brackets_in_the_id():
    assert FORMATS["trn"]("my file (2).wav", TWO) == "guten tag <b> & gut (my_file__2_.wav)\n"
    assert FORMATS["txt"]("a", TWO) == "guten tag <b> & gut\n"
    assert FORMATS["srt"]("a", Transcript("", "de")) == ""
    assert FORMATS["vtt"]("a", Transcript("", "de")) == "WEBVTT\n"
