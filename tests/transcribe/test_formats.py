from __future__ import annotations

import json

from zipperasr.decode.alternatives import Alternative
from zipperasr.transcribe.formats import BY_WORD, FORMATS
from zipperasr.transcribe.transcript import Segment, Token, Transcript, Word

TWO = Transcript(
    "guten tag <b> & gut",
    "de",
    {"de": 0.75, "es": 0.25},
    (Segment(0.0, 1.5, "guten tag"), Segment(1.5, 31.0, "", "silence"), Segment(3661.0, 3662.25, "<b> & gut")),
)

WORDS = Transcript(
    "ja <b> 好。",
    "zh",
    segments=(
        Segment(0.5, 2.0, "ja <b>", words=(Word("ja", 0.5, 0.5, 1.0), Word("<b>", None, 1.25, 2.0))),
        Segment(2.0, 3.0, "", "silence"),
        Segment(3.0, 4.0, "好。", words=(Word("好", 1.0, 3.25, 3.5), Word("。", None, 3.5, 3.5))),
    ),
    duration_s=5.0,
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


def test_json_has_alternatives_only_where_there_are_some():
    lists = (Alternative("guten", -0.5), Alternative("gutem", -0.75))
    segments = (Segment(0.0, 1.5, "guten", alternatives=lists), Segment(1.5, 2.0, "", "silence"))
    found = json.loads(FORMATS["json"]("a.wav", Transcript("guten", "de", segments=segments)))["segments"]
    assert found[0]["alternatives"] == [{"text": "guten", "score": -0.5}, {"text": "gutem", "score": -0.75}]
    assert "alternatives" not in found[1]


def test_trn_replaces_blanks_and_brackets_in_the_id():
    assert FORMATS["trn"]("my file (2).wav", TWO) == "guten tag <b> & gut (my_file__2_.wav)\n"
    assert FORMATS["txt"]("a", TWO) == "guten tag <b> & gut\n"
    assert FORMATS["srt"]("a", Transcript("", "de")) == ""
    assert FORMATS["vtt"]("a", Transcript("", "de")) == "WEBVTT\n"


def test_subtitles_have_one_cue_per_word():
    assert BY_WORD["srt"]("a", WORDS).split("\n\n")[2] == "3\n00:00:03,250 --> 00:00:03,500\n好。\n"
    assert BY_WORD["vtt"]("a", WORDS).split("\n\n")[2] == "00:00:01.250 --> 00:00:02.000\n&lt;b&gt;"
    assert FORMATS["srt"]("a", WORDS).startswith("1\n00:00:00,500 --> 00:00:02,000\nja <b>\n")


def test_ctm_has_confidences_where_they_are_known():
    assert BY_WORD["ctm"]("my file", WORDS).splitlines() == [
        "my_file 1 0.500 0.500 ja 0.500",
        "my_file 1 1.250 0.750 <b>",
        "my_file 1 3.250 0.250 好。 1.000",
    ]


def test_words_without_times_share_the_segment_equally():
    untimed = Transcript("a b", "de", segments=(Segment(1.0, 3.0, "a b", words=(Word("a"), Word("b"))),))
    assert BY_WORD["ctm"]("x", untimed) == "x 1 1.000 1.000 a\nx 1 2.000 1.000 b\n"


def test_textgrid_covers_the_recording_with_intervals():
    lines = BY_WORD["textgrid"]("a", WORDS).splitlines()
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    assert lines.count("xmax = 5.000") == 3 and "intervals: size = 7" in lines
    numbers = [float(line.split(" = ")[1]) for line in lines[lines.index("intervals: size = 7") :] if "xm" in line]
    assert numbers == [0.0, 0.5, 0.5, 1.0, 1.0, 1.25, 1.25, 2.0, 2.0, 3.25, 3.25, 3.5, 3.5, 5.0]
    texts = [line[len('text = "') : -1] for line in lines if line.startswith("text")]
    assert texts == ["", "ja", "", "<b>", "", "好。", ""]


def test_quotes_are_doubled_in_a_textgrid():
    quoted = Transcript('"a"', "de", segments=(Segment(0.0, 1.0, '"a"', words=(Word('"a"', None, 0.0, 1.0),)),))
    assert 'text = """a"""' in BY_WORD["textgrid"]("x", quoted)


def timed(start_s: float, end_s: float, *words: tuple[str, float, float]) -> Transcript:
    """One segment with the times of its words."""
    of_segment = tuple(Word(text, None, first_s, last_s) for text, first_s, last_s in words)
    return Transcript("", "de", segments=(Segment(start_s, end_s, "x", words=of_segment),), duration_s=end_s)


def test_a_word_without_a_duration_gets_a_frame_of_its_own_at_the_beginning():
    words = timed(0.0, 1.0, ("zu", 0.0, 0.0), ("hause", 0.0, 0.5))
    assert BY_WORD["ctm"]("x", words) == "x 1 0.000 0.020 zu\nx 1 0.020 0.480 hause\n"


def test_words_without_a_duration_at_the_end_stay_in_the_segment():
    words = timed(0.0, 1.0, ("ich", 0.5, 0.99), ("bin", 1.0, 1.0), ("da", 1.0, 1.0), (".", 1.0, 1.0))
    found = BY_WORD["ctm"]("x", words).splitlines()
    assert found == ["x 1 0.500 0.460 ich", "x 1 0.960 0.020 bin", "x 1 0.980 0.020 da."]


def test_punctuation_without_a_duration_joins_the_word_before_it_or_the_first_one():
    words = timed(0.0, 1.0, ("«", 0.0, 0.0), ("ja", 0.1, 0.3), ("»", 0.3, 0.3), ("5", 0.3, 0.3), ("–", 0.3, 0.3))
    assert [line.split()[-1] for line in BY_WORD["ctm"]("x", words).splitlines()] == ["«ja»", "5–"]


def test_no_interval_of_a_textgrid_is_empty():
    crowded = timed(0.5, 0.5004, *((char, 0.5, 0.5) for char in "abc"))
    for words in (crowded, timed(0.0, 1.0, ("a", 0.0, 0.5), ("b", 0.5003, 0.5003), ("c", 0.9, 0.9999))):
        lines = BY_WORD["textgrid"]("x", words).splitlines()
        numbers = [float(line.split(" = ")[1]) for line in lines[lines.index('name = "words"') + 4 :] if "xm" in line]
        assert all(first < last for first, last in zip(numbers[::2], numbers[1::2], strict=True))
        assert numbers[1:-1:2] == numbers[2::2]
