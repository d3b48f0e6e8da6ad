"""Pretrain the mini Qwen3: the languages' texts, and writing down what blurred embeddings say.

In: sentences and word salad by language. Out: Qwen3ForCausalLM and its tokenizer, written by save_pretrained. Plain
language modelling leaves so small a model unable to read its input. Most steps therefore show it the prompt and the
embeddings of the text itself or of its transcription in the IPA (a real LLM has read dictionaries), blurred and noisy,
to be written out clean. It learns to copy from random tokens first, then from letters, and at last from phonemes, ever
more blurred: sentences can be half guessed, and a model that guesses never learns to look.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from local.mini.pretraining_data import Pronounced, plain
from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids

_SPACE = "▁"  # SentencePiece's
KINDS = ("alone", "sentence", "salad", "random")  # a sentence without input; the others copied
INPUTS = ("tokens", "letters", "phonemes")  # how a text copied is shown
_LOST, _ON_TOP, _TWICE = 0.03, 0.28, 0.43  # thresholds of one draw a letter or phoneme
_MISHEARD = 0.06  # of the phonemes
_FEWEST = 8  # different tokens in a random line


@dataclass(frozen=True)
class LlmSize:
    """Shape and schedule of the mini LLM."""

    pieces: int = 4000  # tokenizer, special tokens apart
    width: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 384
    batch: int = 40
    steps: int = 4000
    lr: float = 2e-3
    random_until: float = 0.25  # share of the steps that copy random tokens only; then ever more blurred,
    blurred_from: float = 0.65  # until from this share on all is as blurred as speech
    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 0.15)  # of later steps: see KINDS
    first_inputs: tuple[float, ...] = (0.4, 0.6, 0.0)  # of texts copied, see INPUTS: at first,
    inputs: tuple[float, ...] = (0.1, 0.3, 0.6)  # and once they are blurred
    noise: float = 0.5  # of an embedding's own size, at most


def build(size: LlmSize, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """An untrained mini Qwen3 that stops at both of Qwen3's end tokens."""
    end = end_id(tokenizer)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=size.width // size.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=end,
    )
    model = Qwen3ForCausalLM(config)
    model.set_attn_implementation("eager")  # in bf16 on a CPU twice as fast as the fused kernel
    stops = [end, tokenizer.pad_token_id]
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    return model


_Placed = tuple[int, int, float]  # token, position, loudness


@dataclass(frozen=True)
class _Line:
    """What the model is shown, and what it shall write."""

    prompt: list[int]
    heard: list[_Placed]  # empty: nothing is shown, the prompt neither
    text: list[int]
    blur: float  # 0 to 1


class Reader:
    """Draws batches of lines of one kind; `progress`, 0 to 1, decides how hard they are.

    sentences, salad: language code -> lines; a language is drawn as often as it has lines.
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

    def batch(self, progress: float) -> list[_Line]:
        rng, size = self.rng, self.size
        blur = self.blur(progress)
        kind = "random" if progress < size.random_until else rng.choices(KINDS, size.shares)[0]
        if kind == "random":
            return self._random_tokens(min(1.0, 2 * progress / size.random_until), blur / 2)
        texts = self.texts["salad" if kind == "salad" else "sentence"]
        shares = zip(size.first_inputs, size.inputs, strict=True)
        shown = rng.choices(INPUTS, [first + blur * (last - first) for first, last in shares])[0]
        lines = []
        for code in rng.choices(self.codes, self.shares, k=size.batch):
            line = rng.choice(texts[code])
            text = transcript_ids(self.tokenizer, line.text)
            heard = [] if kind == "alone" else self.place(line, text, shown, blur)
            lines.append(_Line(self.prompts[code], heard, text, blur))
        return lines

    def blur(self, progress: float) -> float:
        """From 0, while tokens are random, to 1."""
        start, end = self.size.random_until, self.size.blurred_from
        return min(1.0, max(0.0, (progress - start) / (end - start)))

    def place(self, line: Pronounced, text: list[int], shown: str, blur: float) -> list[_Placed]:
        """`line`, whose token ids are `text`, as it is shown in one of INPUTS."""
        rng = self.rng
        if shown == "tokens":
            return _stretch([[token] for token in text[:-1]], rng, blur)
        if shown == "letters":
            return _crowd([[letter] for letter in spelled_ids(self.tokenizer, line.text)], rng, blur)
        misheard = _MISHEARD * blur
        heard = [rng.choice(self.phonemes) if rng.random() < misheard else phoneme for phoneme in line.phonemes]
        return _crowd([self.tokenizer.convert_tokens_to_ids(sorted(set(phoneme))) for phoneme in heard], rng, blur)

    def _random_tokens(self, growth: float, blur: float) -> list[_Line]:
        """Tokens drawn from a few or from all: up to 6 at growth 0, 40 at 1.

        Of few, many repeat, as letters do; so the model cannot find its place by the last token alone.
        """
        rng, pieces = self.rng, self.size.pieces
        longest = round(6 + 34 * growth)
        place = rng.choice((_stretch, _crowd))
        lines = []
        for _ in range(self.size.batch):
            few = rng.sample(range(pieces), round(math.exp(rng.uniform(math.log(_FEWEST), math.log(pieces)))))
            ids = rng.choices(few, k=rng.randint(longest // 2, longest))
            heard = place([[token] for token in ids], rng, blur)
            lines.append(_Line(self.prompts[rng.choice(self.codes)], heard, [*ids, end_id(self.tokenizer)], blur))
        return lines


def train(
    sentences: dict[str, list[Pronounced]],
    salad: dict[str, list[Pronounced]],
    tokenizer: PreTrainedTokenizerFast,
    table: LanguageTable,
    size: LlmSize,
    seed: int,
    out: Path,
) -> None:
    """Train for size.steps and write the model, its tokenizer and log to `out`."""
    torch.manual_seed(seed)
    reader = Reader(sentences, salad, tokenizer, table, size, seed)
    model = build(size, tokenizer).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    lines, start = [], time.monotonic()
    for step in range(1, size.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = size.lr * min(1, step / 200) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / size.steps)))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            loss = _loss(model, reader.batch(step / size.steps), size, reader.rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 50 == 0 or step == size.steps:
            seconds = round(time.monotonic() - start, 1)
            lines.append({"step": step, "loss": round(loss.item(), 4), "seconds": seconds})
            log(f"mini Qwen3 {lines[-1]}")
        if step % 1000 == 0 or step == size.steps:
            _save(model, tokenizer, out, lines)


def _save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, lines: list[dict]) -> None:
    """Write in half precision, which rounds far below the training noise."""
    model.half().save_pretrained(out)
    model.float()
    tokenizer.save_pretrained(out)
    (out / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _loss(model: Qwen3ForCausalLM, batch: Sequence[_Line], size: LlmSize, rng: random.Random) -> Tensor:
    """Cross-entropy per token of the text."""
    embed = model.get_input_embeddings()
    inputs, labels = [], []
    for line in batch:
        shown = [embed(torch.tensor(line.prompt)), _sound(embed, line, size.noise, rng)] if line.heard else []
        rows = torch.cat([*shown, embed(torch.tensor(line.text))])
        target = torch.full((len(rows),), -100)
        target[len(rows) - len(line.text) :] = torch.tensor(line.text)
        inputs.append(rows)
        labels.append(target)
    padded = pad_sequence(inputs, batch_first=True)
    mask = pad_sequence([torch.ones(len(rows), dtype=torch.long) for rows in inputs], batch_first=True)
    hidden = model.model(inputs_embeds=padded, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    targets = pad_sequence(labels, batch_first=True, padding_value=-100)[:, 1:]
    labelled = targets >= 0
    return functional.cross_entropy(model.lm_head(hidden[labelled]).float(), targets[labelled])


def spelled_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The text as it sounds: each letter, in lower case and without punctuation, and each space one piece."""
    letters = tokenizer.convert_tokens_to_ids(list(plain(text).replace(" ", _SPACE)))
    return [letter for letter in letters if letter != tokenizer.unk_token_id]


def _stretch(units: Sequence[Sequence[int]], rng: random.Random, blur: float) -> list[_Placed]:
    """Each unit for one to four positions, with gaps; a unit is the tokens heard at once."""
    placed, position = [], 0
    for unit in units:
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4)) if rng.random() < blur else 1):
            loudness = 1 + blur * rng.uniform(-0.6, 0.5)
            placed += [(token, position, loudness) for token in unit]
            position += 1
        position += rng.random() < 0.3 * blur
    return placed


def _crowd(units: Sequence[Sequence[int]], rng: random.Random, blur: float) -> list[_Placed]:
    """Each unit at one position, at times two, or on top of the unit before; few are lost, and there are gaps."""
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
def _sound(embed: torch.nn.Embedding, line: _Line, noise: float, rng: random.Random) -> Tensor:
    """The embeddings at their positions, mixed with a neighbour, and noisy: (positions, width)."""
    ids, positions, loudness = (torch.tensor(column) for column in zip(*line.heard, strict=True))
    heard = torch.zeros(int(positions[-1]) + 1, embed.embedding_dim)
    heard.index_add_(0, positions, embed(ids) * loudness[:, None])
    mixed = heard + line.blur * rng.uniform(0, 0.5) * torch.roll(heard, rng.choice((-1, 1)), 0)
    return mixed + line.blur * rng.uniform(0, noise) * heard.std() * torch.randn_like(heard)
