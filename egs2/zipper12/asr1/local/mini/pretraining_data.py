"""Speech and texts for pretraining the mini backbones, with voices and sentence patterns not used in the corpora.

In: counts per language, a seed, the texts to exclude. Out: utterances with log-mel features, all in memory.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from local.mini.espeak import Espeak, draw_voice
from local.mini.texts import Sentence, make_salad, make_sentences
from zipperasr.audio.log_mel import log_mel

_BLOCK = 800  # sentences per process
_PUNCTUATION = re.compile(r"[.,!?;:«»“”\"()¿¡。、，？！؟،]")


@dataclass(frozen=True)
class PretrainingUtterance:
    language: str
    text: str
    phonemes: tuple[str, ...]
    mel: np.ndarray  # (frames, mel bins), float16


@dataclass(frozen=True)
class Pronounced:
    """A text and its phonemes."""

    text: str
    phonemes: tuple[str, ...]  # in IPA


def sentences(counts: dict[str, int], seed: int, held_out: dict[str, set[str]]) -> dict[str, list[Sentence]]:
    """Return `counts[language]` sentences of the pretraining patterns, without those in `held_out[language]`."""
    chosen = {}
    for language, count in counts.items():
        kept_out = {plain(text) for text in held_out.get(language, ())}
        drawn = make_sentences(language, count, seed, "pretrain")
        chosen[language] = [sentence for sentence in drawn if plain(sentence.written) not in kept_out]
    return chosen


def word_salad(counts: dict[str, int], seed: int, held_out: dict[str, set[str]]) -> dict[str, list[Sentence]]:
    """Return `counts[language]` lines of the recipe's words in random order, because real LLMs know all words."""
    salad = {}
    for language, count in counts.items():
        kept_out = {plain(text) for text in held_out.get(language, ())}
        drawn = make_salad(language, count, seed, "recipe")
        salad[language] = [line for line in drawn if plain(line.written) not in kept_out]
    return salad


def pronounce(by_language: dict[str, list[Sentence]]) -> dict[str, list[Pronounced]]:
    """Return each sentence in written and in plain form, with its phonemes."""
    espeak, lines = Espeak(), {}
    for language, chosen in by_language.items():
        lines[language] = []
        for sentence in chosen:
            phonemes = tuple(espeak.ipa(sentence.spoken, language))
            lines[language] += [Pronounced(text, phonemes) for text in (sentence.written, plain(sentence.written))]
    return lines


def plain(text: str) -> str:
    """Return lower case without punctuation, as in MLS and WenetSpeech."""
    return " ".join(_PUNCTUATION.sub(" ", unicodedata.normalize("NFC", text)).lower().split())


def speak_all(
    by_language: dict[str, list[Sentence]], seed: int, mel_bins: int, nj: int, voices: str = "pretrain"
) -> list[PretrainingUtterance]:
    """Synthesise every sentence with voices of espeak.VARIANTS[voices]; half of the texts are in plain form.

    Each block of sentences gets a process of its own, because espeak-ng has state: the speech then depends on the seed
    only.
    """
    blocks = [
        (language, chosen[start : start + _BLOCK], f"{seed} {language} {start}", mel_bins, voices)
        for language, chosen in sorted(by_language.items())
        for start in range(0, len(chosen), _BLOCK)
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(nj, maxtasksperchild=1) as pool:
        spoken = tqdm(pool.imap(_speak, blocks, chunksize=1), total=len(blocks), desc="pretraining speech")
        return [utterance for block in spoken for utterance in block]


def _speak(block: tuple[str, list[Sentence], str, int, str]) -> list[PretrainingUtterance]:
    language, chosen, seed, mel_bins, voices = block
    torch.set_num_threads(1)
    espeak, rng, utterances = Espeak(), random.Random(seed), []
    phonemes = {sentence: tuple(espeak.phoneme_names(sentence.spoken, language)) for sentence in chosen}
    for sentence in chosen:
        audio = espeak.say(sentence.spoken, language, draw_voice(rng, voices))
        mel = log_mel(torch.from_numpy(audio.astype(np.float32) / 32768), mel_bins).half().numpy()
        text = plain(sentence.written) if rng.random() < 0.5 else sentence.written
        utterances.append(PretrainingUtterance(language, text, phonemes[sentence], mel))
    return utterances
