"""Hints (`--hints`): how many invented names are recognised, and what the list costs where nobody says them.

Input: a recipe directory with a trained mini model. Names replace names of people and cities in the sentences of the
mini corpora, spoken by espeak-ng with the acoustics of their corpus. Output: a section of RESULTS.md: recall of names
and error rate without hints, with the names of the language, and with 100 others; list words in silence and noise.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from record import write_section
from shared_options import add_results

from zipperasr.cli import log, parser, run_step
from zipperasr.decode.phrases import Phrase
from zipperasr.languages import LanguageTable
from zipperasr.markdown import table
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcriber import Transcriber

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
SILENT_S = 2.0


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


def in_silence(transcriber: Transcriber, names: dict[str, list[str]], clips: int, weight: float) -> tuple[int, int]:
    """Return how many clips of silence and noise have any text, and how many a word of the list."""
    rng, texts, hits = np.random.default_rng(1), 0, 0
    for number in range(clips):
        language = list(names)[number % len(names)]
        level_db = -70 + 50 * number / clips
        noise = rng.standard_normal(int(16_000 * SILENT_S)).astype(np.float32) * 10 ** (level_db / 20)
        hints = tuple(Phrase(name, weight) for name in names[language])
        ((_, transcript),) = transcriber.transcribe([Recording("noise", noise, hints=hints)], language)
        texts += bool(transcript.text)
        hits += any(name.lower() in transcript.text.lower() for name in names[language])
    return texts, hits


def benchmark(options: argparse.Namespace) -> None:
    results = options.results.absolute()
    os.chdir(options.recipe)  # the model names its backbones relative to it
    transcriber = Transcriber.from_pretrained(options.exp, "cpu")
    table_of = LanguageTable.load("conf/languages.tsv")
    languages = [code for code in options.languages if code in table_of and code in transcriber.languages]
    rng = random.Random(2)
    distractors = {code: [invented(code, rng) for _ in range(options.distractors)] for code in languages}
    rows = []
    for kind in ("dev", "test"):
        sentences = list(spoken(kind, languages, options.utts))
        names = {code: sorted({one.name for one in sentences if one.language == code}) for code in languages}
        both = {code: names[code] + distractors[code] for code in languages}
        rows.append([kind, "none", "–", *_cells(measure(transcriber, sentences, {}, 1.0))])
        for weight in options.weights:
            for label, lists in (("names", names), ("names and distractors", both), ("distractors", distractors)):
                rows.append([kind, label, f"{weight:g}", *_cells(measure(transcriber, sentences, lists, weight))])
                log(" ".join(rows[-1]))
    texts, hits = in_silence(transcriber, distractors, options.clips, max(options.weights))
    header = ["sentences", "hints", "weight", "names recognised %", "error rate %", "list words nobody said"]
    body = (
        f"{len(languages)} languages, {options.utts} sentences each at most; a list has the names of its language, "
        f"{options.distractors} distractors or both.\n\n{table(header, rows)}\n\n"
        f"Of {options.clips} clips of silence and noise (-70 to -20 dB), {texts} have a text and {hits} a word of the "
        f"list of distractors, at weight {max(options.weights):g}."
    )
    write_section("Hints, mini", body, results)


def _cells(result: Result) -> list[str]:
    return [f"{result.recall:.1f}", f"{result.error:.2f}", str(result.unsaid)]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--recipe", type=Path, default=RECIPE, help="recipe directory in which stages 0 to 6 have run")
    options.add_argument("--exp", type=Path, default=Path("exp/sft_zipper_soft_chunked"), help="training directory")
    options.add_argument("--languages", nargs="+", default=list(SYLLABLES), help="language codes")
    options.add_argument("--utts", type=int, default=12, help="sentences per language")
    options.add_argument("--distractors", type=int, default=100, help="names that nobody says, per language")
    options.add_argument("--weights", type=float, nargs="+", default=[4.0, 5.0, 6.0], help="hint weights")
    options.add_argument("--clips", type=int, default=100, help="clips of silence and noise")
    add_results(options)
    return run_step(benchmark, options.parse_args(argv), "hints")


if __name__ == "__main__":
    sys.exit(main())
