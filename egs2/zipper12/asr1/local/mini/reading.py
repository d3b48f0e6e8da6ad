"""Training data of the mini LLM: lines of text, and the input shown for each.

In: sentences and word salad by language. Out: batches of `Line`s, and the embeddings shown of a line. A text is shown
as its own tokens, its letters or its phonemes, blurred and noisy, alone or joined to others with pauses between.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from local.mini.pretraining_data import Pronounced, plain
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids

if TYPE_CHECKING:
    from local.mini.pretrain_llm import LlmSize

_SPACE = "▁"  # SentencePiece's
KINDS = ("alone", "sentence", "salad", "random")  # alone: a sentence without input; the others are to be copied
INPUTS = ("tokens", "letters", "phonemes")  # forms in which a text to copy is shown
_LOST, _ON_TOP, _TWICE = 0.03, 0.28, 0.43  # thresholds of one random draw per letter or phoneme
_MISHEARD = 0.06  # share of the phonemes
_FEWEST = 8  # fewest distinct tokens in a random line
_PAUSED = 0.3  # share of single lines with a pause at the start, at the end, or inside
_MEAN_PAUSE = 5.0  # positions

Placed = tuple[int, int, float]  # token, position, loudness


@dataclass(frozen=True)
class Line:
    """The input of the model, and the text it is trained to write."""

    prompt: list[int]
    heard: list[Placed]  # empty: no input, not even the prompt
    text: list[int]
    blur: float  # 0 to 1
    pause_after: int = 0  # positions

    @property
    def num_positions(self) -> int:
        return self.heard[-1][1] + 1 + self.pause_after if self.heard else 0


class Reader:
    """Draws batches of lines of one kind; `progress`, 0 to 1, determines their difficulty.

    sentences, salad: language code -> lines, each text in written and then in plain form. Languages are drawn in
    proportion to their lines.
    """

    def __init__(
        self,
        sentences: dict[str, list[Pronounced]],
        salad: dict[str, list[Pronounced]],
        tokenizer: PreTrainedTokenizerFast,
        table: LanguageTable,
        size: LlmSize,
        seed: int,
    ):
        self.rng, self.size, self.tokenizer = random.Random(seed), size, tokenizer
        self.texts = {"sentence": sentences, "salad": salad}
        self.codes = sorted(sentences)
        self.shares = [len(sentences[code]) for code in self.codes]
        lines = itertools.chain(*sentences.values(), *salad.values())
        self.phonemes = sorted({phoneme for line in lines for phoneme in line.phonemes})
        self.prompts = {code: prompt_ids(tokenizer, table[code]) for code in self.codes}
        self.glue = {code: _glue(sentences[code]) for code in self.codes}

    def batch(self, progress: float) -> list[Line]:
        rng, size = self.rng, self.size
        blur = self.blur(progress)
        kind = "random" if progress < size.random_until else rng.choices(KINDS, size.shares)[0]
        if kind == "random":
            growth = min(1.0, 2 * progress / size.random_until) if size.random_until else 1.0
            return self._random_tokens(growth, blur / 2)
        if rng.random() < size.clearer:
            blur *= rng.random()
        shares = zip(size.first_inputs, size.inputs, strict=True)
        shown = rng.choices(INPUTS, [first + blur * (last - first) for first, last in shares])[0]
        texts = self.texts["salad" if kind == "salad" else "sentence"]
        longest = 0
        if kind != "alone" and rng.random() < size.joined:
            longest = rng.randint(size.longest // 5, size.longest)
        lines: list[Line] = []
        while len(lines) < size.batch and sum(line.num_positions for line in lines) < size.batch_positions:
            code = rng.choices(self.codes, self.shares)[0]
            if kind == "alone":
                text = transcript_ids(self.tokenizer, rng.choice(texts[code]).text)
                lines.append(Line(self.prompts[code], [], text, blur))
            else:
                lines.append(self.shown(code, texts[code], shown, blur, longest))
        return lines

    def blur(self, progress: float) -> float:
        """Return the blur: 0 during the random phase, then rising to 1."""
        start, end = self.size.random_until, self.size.blurred_from
        return 1.0 if progress >= end else max(0.0, (progress - start) / (end - start))

    def shown(self, code: str, texts: list[Pronounced], shown: str, blur: float, longest: int) -> Line:
        """Show one text, or as many as fit into `longest` positions, with pauses between them."""
        rng = self.rng
        form = rng.randrange(2)
        written, heard, position = [], [], self._pause(blur, _PAUSED)
        while True:
            line = texts[rng.randrange(len(texts) // 2) * 2 + form] if len(texts) > 1 else texts[0]
            placed = self.place(line, transcript_ids(self.tokenizer, line.text), shown, blur)
            if not placed:  # all units were lost
                continue
            if written and position + placed[-1][1] >= longest:
                break
            written.append(line.text)
            heard += [(token, position + place, loudness) for token, place, loudness in self._broken(placed, blur)]
            position = heard[-1][1] + 1 + self._pause(blur, 1.0)
            if position >= longest:
                break
        text = transcript_ids(self.tokenizer, self.glue[code].join(written))
        return Line(self.prompts[code], heard, text, blur, self._pause(blur, _PAUSED))

    def _broken(self, placed: list[Placed], blur: float) -> list[Placed]:
        """Sometimes insert a pause."""
        pause, after = self._pause(blur, _PAUSED), self.rng.randrange(placed[-1][1] + 1)
        return [(token, place + pause * (place > after), loudness) for token, place, loudness in placed]

    def _pause(self, blur: float, share: float) -> int:
        """Draw the length of a pause in positions; 0 except in `share` of the calls."""
        return round(self.rng.expovariate(1 / _MEAN_PAUSE)) if self.rng.random() < share * blur else 0

    def place(self, line: Pronounced, text: list[int], shown: str, blur: float) -> list[Placed]:
        """Show `line`, whose token ids are `text`, in one of the forms INPUTS."""
        rng = self.rng
        if shown == "tokens":
            return _stretch([[token] for token in text[:-1]], rng, blur)
        if shown == "letters":
            return _crowd([[letter] for letter in spelled_ids(self.tokenizer, line.text)], rng, blur)
        misheard = _MISHEARD * blur
        heard = [rng.choice(self.phonemes) if rng.random() < misheard else phoneme for phoneme in line.phonemes]
        return _crowd([self.tokenizer.convert_tokens_to_ids(sorted(set(phoneme))) for phoneme in heard], rng, blur)

    def _random_tokens(self, growth: float, blur: float) -> list[Line]:
        """Draw lines of random tokens, up to 6 tokens long at growth 0, 40 at 1.

        Tokens come from a random subset. In small ones they repeat, like letters, so that the model cannot find its
        position from the last token alone.
        """
        rng, pieces = self.rng, self.size.pieces
        longest = round(6 + 34 * growth)
        place = rng.choice((_stretch, _crowd))
        lines = []
        for _ in range(self.size.batch):
            few = rng.sample(range(pieces), round(math.exp(rng.uniform(math.log(_FEWEST), math.log(pieces)))))
            ids = rng.choices(few, k=rng.randint(longest // 2, longest))
            heard = place([[token] for token in ids], rng, blur)
            lines.append(Line(self.prompts[rng.choice(self.codes)], heard, [*ids, end_id(self.tokenizer)], blur))
        return lines


def _glue(lines: list[Pronounced]) -> str:
    """Return what separates sentences: a space, unless most of the sentences contain none."""
    return " " if 2 * sum(" " in line.text for line in lines) > len(lines) else ""


def spelled_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Tokenise the text in lower case without punctuation, one piece per letter and space."""
    letters = tokenizer.convert_tokens_to_ids(list(plain(text).replace(" ", _SPACE)))
    return [letter for letter in letters if letter != tokenizer.unk_token_id]


def _stretch(units: Sequence[Sequence[int]], rng: random.Random, blur: float) -> list[Placed]:
    """Place each unit (simultaneous tokens) at one to four positions, with gaps."""
    placed, position = [], 0
    for unit in units:
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4)) if rng.random() < blur else 1):
            loudness = 1 + blur * rng.uniform(-0.6, 0.5)
            placed += [(token, position, loudness) for token in unit]
            position += 1
        position += rng.random() < 0.3 * blur
    return placed


def _crowd(units: Sequence[Sequence[int]], rng: random.Random, blur: float) -> list[Placed]:
    """Place each unit at one or two positions or on top of the previous unit; drop a few, and insert gaps."""
    placed, position = [], 0
    for unit in units:
        happens, loudness = rng.random() / max(blur, 1e-9), 1 + blur * rng.uniform(-0.5, 0.3)
        if happens < _LOST:
            continue
        position += not _LOST < happens < _ON_TOP
        placed += [(token, position, loudness) for token in unit]
        if _ON_TOP < happens < _TWICE:
            position += 1
            placed += [(token, position, loudness) for token in unit]
        position += rng.random() < 0.15 * blur
    return placed


@torch.no_grad()
def sound(embed: torch.nn.Embedding, line: Line, noise: float, rng: random.Random) -> Tensor:
    """Return the embeddings at their positions, mixed with a neighbour, with noise: (positions, width)."""
    ids, positions, loudness = (torch.tensor(column) for column in zip(*line.heard, strict=True))
    heard = torch.zeros(line.num_positions, embed.embedding_dim)
    heard.index_add_(0, positions, embed(ids) * loudness[:, None])
    mixed = heard + line.blur * rng.uniform(0, 0.5) * torch.roll(heard, rng.choice((-1, 1)), 0)
    return mixed + line.blur * rng.uniform(0, noise) * heard.std() * torch.randn_like(heard)
