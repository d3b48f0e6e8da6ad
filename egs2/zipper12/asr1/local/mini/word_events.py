"""When the words of the mini test sets are spoken: espeak-ng's own word events.

In: the plan of the test sets. Out: for each sentence, its words with their times. The speech is synthesised again in
the order of stage 0, because espeak-ng's samples depend on earlier calls, with events switched on, which change no
sample. espeak-ng speaks some words as one ("of the"); such a word has no event and is part of the word before it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import espeakng_loader

from local.mini.acoustics import draw_acoustics
from local.mini.corpora import Task, _tasks, plan_shares  # renamed, stage 0 would make all corpora again
from local.mini.espeak import SAMPLE_RATE_HZ, Espeak, draw_voice
from local.mini.plan import CONFIG, DATASETS, LANGUAGES
from local.mini.texts import Sentence
from local.mini.texts.grammar import Grammar, load

# espeak-ng's speak_lib.h
_SYNCHRONOUS, _DONT_EXIT, _PHONEME_EVENTS = 2, 0x8000, 1
_WORD, _CLAUSE_END, _PHONEME = 1, 5, 7
_PAUSE = b"_:"
_OPEN_PHONEMES = "[["


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class SpokenWord:
    """A word of a written sentence, and when it is spoken."""

    first: int  # place of its first character in the sentence
    start_s: float
    end_s: float  # the start of the next word, or of the pause before it


@dataclass(frozen=True)
class TimedSentence:
    """A sentence of a test set; its words are in order, and those without an event are left out."""

    corpus: str
    language: str
    written: str
    duration_s: float
    words: tuple[SpokenWord, ...]


class TimedEspeak(Espeak):
    """espeak-ng with word and phoneme events."""

    def __init__(self) -> None:
        if Espeak._library is None:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = str(espeakng_loader.get_data_path()).encode()
            Espeak._native_rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT | _PHONEME_EVENTS)
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            Espeak._library = library
        super().__init__()
        self.starts: list[tuple[int, float]] = []  # of the last call of `say`: place in the text, seconds
        self.ends_s: list[float] = []  # of pauses and clauses

    def say(self, spoken, language, voice):
        self.starts, self.ends_s = [], []
        return super().say(spoken, language, voice)

    def _collect(self, wave, num_samples: int, events) -> int:
        event = ctypes.cast(events, ctypes.POINTER(_Event))
        while event.contents.type:
            found = event.contents
            seconds = found.audio_position / 1000
            if found.type == _WORD:
                self.starts.append((found.text_position - 1, seconds))
            elif found.type == _CLAUSE_END or (found.type == _PHONEME and found.name == _PAUSE):
                self.ends_s.append(seconds)
            event = ctypes.cast(ctypes.byref(found, ctypes.sizeof(_Event)), ctypes.POINTER(_Event))
        return super()._collect(wave, num_samples, events)


def time_sets(kind: str, nj: int) -> Iterator[TimedSentence]:
    """Yield the sentences of all test or dev sets; the current directory is that of the recipe."""
    shares = plan_shares(CONFIG, DATASETS, LANGUAGES)
    tasks = [task for share in shares for task in _tasks(share, Path()) if task.part.kind == kind]
    context = multiprocessing.get_context("forkserver")
    with context.Pool(nj, maxtasksperchild=1) as pool:
        for sentences in pool.imap(_time, tasks):
            yield from sentences


def _time(task: Task) -> list[TimedSentence]:
    """Synthesise a task's sentences as stage 0 does."""
    part, espeak = task.part, TimedEspeak()
    timed = []
    for offset in range(0, len(part.sentences), task.speaker_utts):
        speaker = task.first_speaker + offset // task.speaker_utts
        rng = random.Random(f"{task.seed} {part.corpus} {part.language} {speaker}")
        voice = draw_voice(rng, "test" if part.kind == "test" else "train")
        sound = draw_acoustics(*task.acoustics, rng)
        voice = sound.voice(voice)
        for sentence in part.sentences[offset : offset + task.speaker_utts]:
            samples = sound(espeak.say(sentence.spoken, part.language, voice))
            words = tuple(_words(espeak, sentence, part.language, sound.accent.formants))
            timed.append(
                TimedSentence(part.corpus, part.language, sentence.written, len(samples) / SAMPLE_RATE_HZ, words)
            )
    return timed


def _words(espeak: TimedEspeak, sentence: Sentence, language: str, speedup: float) -> Iterator[SpokenWord]:
    places = written_places(sentence, language)
    starts = [start_s for _, start_s in espeak.starts]
    ends = sorted([*starts, *espeak.ends_s])
    for place, start_s in espeak.starts:
        if place in places:
            end_s = next(end for end in ends if end > start_s)
            yield SpokenWord(places[place], start_s / speedup, end_s / speedup)


def written_places(sentence: Sentence, language: str) -> dict[int, int]:
    """Return the place in the written sentence by the place in the spoken one, for each character or token."""
    written, spoken = sentence.written, sentence.spoken
    if written == spoken:
        return {place: place for place in range(len(spoken))}
    spoken_tokens = spoken.strip("[]").split()
    grammar = load(language)
    if grammar.settings["script"] == "vowelled":
        written_tokens = tuple(written.split())
    else:
        written_tokens = _split(written.replace(" ", ""), tuple(spoken_tokens), grammar)
    return dict(zip(_starts(spoken, spoken_tokens), _starts(written, written_tokens), strict=True))


def _starts(text: str, tokens) -> list[int]:
    places, place = [], 0
    for token in tokens:
        places.append(text.index(token, place))
        place = places[-1] + len(token)
    return places


def _split(written: str, spoken: tuple[str, ...], grammar: Grammar) -> tuple[str, ...]:
    """Split a sentence without spaces into the tokens that are spoken so. Raises ValueError."""
    by_sound: dict[str, list[str]] = {}
    for token, sound in grammar.spoken.items():
        by_sound.setdefault(sound, []).append(token)

    @cache
    def split(place: int, number: int) -> tuple[str, ...] | None:
        if number == len(spoken):
            return () if place == len(written) else None
        for token in (*by_sound.get(spoken[number], ()), spoken[number]):
            if written.startswith(token, place) and (rest := split(place + len(token), number + 1)) is not None:
                return (token, *rest)
        return None

    tokens = split(0, 0)
    if tokens is None:
        raise ValueError(f"{written}: cannot be split into what is spoken: {' '.join(spoken)}")
    return tokens
