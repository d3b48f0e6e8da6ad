"""Hints (`--hints`): how many invented names are recognised, and what the list costs where nobody says them.

Input: a trained mini model with an aligner; run it in the recipe's directory. Names replace names of people and cities
in the sentences of the mini corpora, spoken by espeak-ng with the acoustics of their corpus. Output: a section of
RESULTS.md, with and without the aligner: recall of names and error rate with the names of the language, with others and
with both; list words in clips without speech; the time that it takes to find the phrases of long lists.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from record import write_section
from shared_options import add_results
from voice_detector import make_clips

from zipperasr.align.spotting import find_spots
from zipperasr.cli import log, parser, run_step
from zipperasr.decode.phrases import Phrase
from zipperasr.decode.spotted import COST
from zipperasr.markdown import table
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.voice import DETECTORS

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
LATIN = ("bdfklmnprstv", "aeiou")
SYLLABLES = {  # first and second part
    **dict.fromkeys(("de", "en", "es", "fr", "it"), LATIN),
    "ru": ("бдфклмнпрств", "аиоу"),
    "ko": ("나다라마바사가타파노도로모보소고토미니리비시누두루무부수", [""]),
}
REPLACED = re.compile(
    r"\b(maria|peter|anna|robert|laura|thomas|london|paris|boston|chicago|berlin|madrid|dublin|vienna|moscow|rome"
    r"|hamburg|bremen|dresden|leipzig|wien|rom|prag|athen|pedro|ana|carlos|sevilla|valencia|granada|toledo|lima"
    r"|marie|pierre|sophie|julie|nicolas|lyon|marseille|toulouse|bordeaux|nantes|pietro|carlo|marco|milano|torino"
    r"|napoli|palermo|venezia|firenze|bologna|verona|roma|мария|анна|ольга|елена|москва|казань|самара|париж|лондон"
    r"|지수|민호|영미|서울|부산|대구|인천|광주|대전|제주)\b",
    re.IGNORECASE,
)
LENGTHS = (100, 1000, 5000)  # of lists whose time is measured
TIMED_S = 10.0


class Spoken(NamedTuple):
    """A sentence with an invented name."""

    language: str
    name: str
    text: str
    samples: np.ndarray  # 16 kHz


class Result(NamedTuple):
    recall: float  # per cent of the names
    error: float  # per cent of words, or characters
    unsaid: int  # words of the list that nobody said


def invented(language: str, rng: random.Random) -> str:
    first, second = SYLLABLES[language]
    return "".join(rng.choice(first) + rng.choice(second) for _ in range(3))


def spoken(kind: str, languages: Sequence[str], most: int) -> Iterator[Spoken]:
    """Speak at most `most` sentences per language. kind: dev or test, which have different voices and sentences."""
    sys.path.insert(0, str(RECIPE))
    from local.mini.acoustics import draw_acoustics
    from local.mini.espeak import Espeak, draw_voice
    from local.mini.plan import load_plan

    conf = RECIPE / "conf"
    sizes, _, parts = load_plan(conf / "mini" / "mini_corpora.yaml", conf / "datasets.tsv", conf / "languages.tsv")
    espeak, counts = Espeak(), dict.fromkeys(languages, 0)
    for part in parts:
        rng = random.Random(f"{part.corpus} {part.language} {part.split} {part.kind}")
        for sentence in part.sentences if part.kind == kind else ():
            found = REPLACED.search(sentence.written)
            if part.language not in counts or found is None or found[0] not in sentence.spoken:
                continue
            if counts[part.language] == most:
                break
            counts[part.language] += 1
            name = invented(part.language, rng)
            name = name.capitalize() if found[0][0].isupper() else name
            voice = draw_voice(rng, "test" if kind == "test" else "train")
            sound = draw_acoustics(*sizes.acoustics.of(part.corpus, part.language), rng)
            said = espeak.say(sentence.spoken.replace(found[0], name, 1), part.language, sound.voice(voice))
            text = sentence.written.replace(found[0], name, 1)
            yield Spoken(part.language, name, text, sound(said).astype(np.float32) / 32768)


def measure(
    transcriber: Transcriber, sentences: Sequence[Spoken], lists: dict[str, list[str]], weight: float
) -> Result:
    """Transcribe all sentences with the hints of their language."""
    pairs, found, others = [], 0, 0
    for language in dict.fromkeys(one.language for one in sentences):
        mine = [one for one in sentences if one.language == language]
        hints = tuple(Phrase(name, weight) for name in lists.get(language, ()))
        entry = transcriber.languages[language]
        clean = normaliser(entry.normaliser)
        recordings = [Recording(str(number), one.samples, hints=hints) for number, one in enumerate(mine)]
        for one, (_, transcript) in zip(mine, transcriber.transcribe(recordings, language), strict=True):
            text = transcript.text.lower()
            found += one.name.lower() in text
            others += sum(name.lower() in text for name in lists.get(language, ()) if name != one.name)
            pairs.append(tuple(split_units(clean(side), entry.unit) for side in (one.text, transcript.text)))
    errors = sum(len(operations) - operations.count("C") for operations in align_all(pairs))
    units = sum(len(reference) for reference, _ in pairs)
    return Result(100 * found / len(sentences), 100 * errors / units, others)


def without_speech(
    transcriber: Transcriber, clips: Sequence[np.ndarray], names: dict[str, list[str]], weight: float
) -> tuple[int, int]:
    """Return how many clips have any text, and how many a word of the list."""
    texts, hits = 0, 0
    for number, clip in enumerate(clips):
        language = list(names)[number % len(names)]
        hints = tuple(Phrase(name, weight) for name in names[language])
        ((_, transcript),) = transcriber.transcribe([Recording("clip", clip, hints=hints)], language)
        texts += bool(transcript.text)
        hits += any(name.lower() in transcript.text.lower() for name in names[language])
    return texts, hits


def seconds_to_find(transcriber: Transcriber, number: int, weight: float) -> float:
    """Time to find random phrases of 6 characters in random frames, with one thread: the median of five."""
    aligner, rng, took = transcriber.hint_lists.aligner, random.Random(3), []
    labels = [rng.choices(range(1, len(aligner.config.characters) + 1), k=6) for _ in range(number)]
    frames = torch.randn(int(TIMED_S * 50), aligner.config.width, generator=torch.Generator().manual_seed(3))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(5):
        began = time.perf_counter()
        find_spots(aligner.relative_scores(frames), labels, [COST * weight] * number)
        took.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return sorted(took)[2]


def benchmark(options: argparse.Namespace) -> None:
    plain, spotting = (Transcriber.from_pretrained(options.model, "cpu", words=words) for words in (False, True))
    plain.hint_lists.aligner = None
    languages = [code for code in options.languages if code in SYLLABLES and code in plain.languages]
    rng = random.Random(2)
    distractors = {code: [invented(code, rng) for _ in range(options.distractors)] for code in languages}
    sentences = list(spoken(options.kind, languages, options.utts))
    names = {code: sorted({one.name for one in sentences if one.language == code}) for code in languages}
    both = {code: names[code] + distractors[code] for code in languages}
    rows = [["none", "–", "–", *_cells(measure(plain, sentences, {}, 1.0))]]
    for label, lists in (("names", names), ("names and distractors", both), ("distractors", distractors)):
        for weight in options.weights:
            for aligner, transcriber in (("no", plain), ("yes", spotting)):
                found = _cells(measure(transcriber, sentences, lists, weight))
                rows.append([label, f"{weight:g}", aligner, *found])
                log(" ".join(rows[-1]))
    header = ["hints", "weight", "aligner", "names found %", "error rate %", "list words nobody said"]
    body = (
        f"{len(sentences)} {options.kind} sentences in {len(languages)} languages, each with an invented name. A list "
        f"has the names of its language, {options.distractors} distractors or both; no aligner: the search alone "
        f"follows the hints.\n\n{table(header, rows)}\n\n{_clips(options, (plain, spotting), distractors)}\n\n"
        f"{_times(spotting, options.weights[0])}"
    )
    write_section(f"Hints, {options.kind} sentences", body, options.results)


def _clips(options: argparse.Namespace, transcribers: Sequence[Transcriber], names: dict[str, list[str]]) -> str:
    """Texts and list words in clips without speech, by voice detector."""
    every = [clip for several in make_clips(options.clip_s).values() for clip in several]
    clips, rows = every[:: max(1, len(every) // options.clips)][: options.clips], []
    for vad in DETECTORS:
        for aligner, one in zip(("no", "yes"), transcribers, strict=True):
            judged = Transcriber(one.opened, vad=vad, aligner=one.aligner)
            judged.hint_lists.aligner = one.hint_lists.aligner
            for weight in options.weights:
                found = without_speech(judged, clips, names, weight)
                rows.append([vad, f"{weight:g}", aligner, *map(str, found)])
                log(" ".join(rows[-1]))
    header = ["voice detector", "weight", "aligner", "clips with a text", "with a distractor"]
    return f"{len(clips)} clips of noise, music-like tones and hum, {options.clip_s:g} s each:\n\n{table(header, rows)}"


def _times(transcriber: Transcriber, weight: float) -> str:
    rows = [[f"{number:,}", f"{1000 * seconds_to_find(transcriber, number, weight):.0f}"] for number in LENGTHS]
    return f"Finding phrases in {TIMED_S:g} s of speech, on one core:\n\n{table(['phrases', 'ms'], rows)}"


def _cells(result: Result) -> list[str]:
    return [f"{result.recall:.1f}", f"{result.error:.2f}", str(result.unsaid)]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="training directory with an aligner")
    options.add_argument("--kind", choices=("test", "dev"), default="test", help="sentences and voices")
    options.add_argument("--languages", nargs="+", default=list(SYLLABLES), help="language codes")
    options.add_argument("--utts", type=int, default=12, help="sentences per language")
    options.add_argument("--distractors", type=int, default=100, help="names that nobody says, per language")
    options.add_argument("--weights", type=float, nargs="+", default=[4.0, 6.0], help="hint weights")
    options.add_argument("--clips", type=int, default=100, help="clips without speech, at most 100")
    options.add_argument("--clip_s", type=float, default=4.0, help="their length in seconds")
    add_results(options)
    return run_step(benchmark, options.parse_args(argv), "hints")


if __name__ == "__main__":
    sys.exit(main())
