"""Pretrain the mini Qwen3: the languages' texts, and writing down what blurred embeddings say.

In: sentences and word salad by language. Out: Qwen3ForCausalLM and its tokenizer, written by save_pretrained. Plain
language modelling leaves so small a model unable to read its input. Most steps therefore show it the prompt and the
text's own embeddings, token by token or spelled in letters, stretched and noisy, to be written out clean. It learns to
copy from random tokens first: sentences can be half guessed, and a model that guesses never learns to look.
"""

from __future__ import annotations

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

from local.mini.pretraining_data import plain
from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids

_SPACE = "▁"  # SentencePiece's
KINDS = ("alone", "sentence", "salad", "random")  # a sentence without input; the others copied
_ON_TOP, _TWICE, _LOST = 0.25, 0.85, 0.97  # thresholds of one draw a letter


@dataclass(frozen=True)
class LlmSize:
    """Shape and schedule of the mini LLM."""

    pieces: int = 4000  # tokenizer, special tokens apart
    width: int = 128
    layers: int = 3
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 384
    batch: int = 40
    steps: int = 4000
    lr: float = 2e-3
    random_until: float = 0.35  # share of the steps that copy random tokens only, ever longer, then ever less clean
    shares: tuple[float, ...] = (0.15, 0.25, 0.4, 0.2)  # of later steps: see KINDS
    spelled_share: float = 0.6  # of texts copied: input spelled, as speech comes at about a letter a position
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


@dataclass(frozen=True)
class _Line:
    """What the model is shown, and what it shall write."""

    prompt: list[int]
    heard: list[tuple[int, int, float]]  # token, position, loudness; empty: nothing is shown, the prompt neither
    text: list[int]


class Reader:
    """Draws batches of lines of one kind; `progress`, 0 to 1, decides how hard they are.

    sentences, salad: language code -> lines.
    """

    def __init__(
        self,
        sentences: dict[str, list[str]],
        salad: dict[str, list[str]],
        tokenizer: PreTrainedTokenizerFast,
        table: LanguageTable,
        size: LlmSize,
        seed: int,
    ):
        self.rng, self.size, self.tokenizer = random.Random(seed), size, tokenizer
        self.texts = {"sentence": sentences, "salad": salad}
        self.codes = sorted(sentences)
        self.prompts = {code: prompt_ids(tokenizer, table[code]) for code in self.codes}

    def batch(self, progress: float) -> list[_Line]:
        rng, size = self.rng, self.size
        if progress < size.random_until:
            return self._random_tokens(progress / size.random_until)
        kind = rng.choices(KINDS, size.shares)[0]
        if kind == "random":
            return self._random_tokens(1.0)
        texts = self.texts["salad" if kind == "salad" else "sentence"]
        spelled = rng.random() < size.spelled_share
        lines = []
        for _ in range(size.batch):
            code = rng.choice(self.codes)
            written = rng.choice(texts[code])
            text = transcript_ids(self.tokenizer, written)
            heard = _crowd(spelled_ids(self.tokenizer, written), rng) if spelled else _stretch(text[:-1], rng)
            lines.append(_Line(self.prompts[code], [] if kind == "alone" else heard, text))
        return lines

    def _random_tokens(self, progress: float) -> list[_Line]:
        """Up to 6 tokens at first, 40 in the middle; blurred from the middle on."""
        rng = self.rng
        longest = round(6 + 34 * min(1.0, 2 * progress))
        blurred = max(0.0, 2 * progress - 1)
        place = rng.choice((_stretch, _crowd))
        lines = []
        for _ in range(self.size.batch):
            ids = rng.choices(range(self.size.pieces), k=rng.randint(longest // 2, longest))
            heard = place(ids, rng) if rng.random() < blurred else [(token, n, 1.0) for n, token in enumerate(ids)]
            text = [*ids, end_id(self.tokenizer)]
            lines.append(_Line(self.prompts[rng.choice(self.codes)], heard, text))
        return lines


def train(
    sentences: dict[str, list[str]],
    salad: dict[str, list[str]],
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
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _loss(model: Qwen3ForCausalLM, batch: Sequence[_Line], size: LlmSize, rng: random.Random) -> Tensor:
    """Cross-entropy per token of the text."""
    embed = model.get_input_embeddings()
    inputs, labels = [], []
    for line in batch:
        shown = [embed(torch.tensor(line.prompt)), _sound(embed, line.heard, size.noise, rng)] if line.heard else []
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


def _stretch(ids: Sequence[int], rng: random.Random) -> list[tuple[int, int, float]]:
    """Each token for one to four positions, with gaps: (id, position, loudness)."""
    placed, position = [], 0
    for token in ids:
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
            placed.append((token, position, rng.uniform(0.4, 1.5)))
            position += 1
        position += rng.random() < 0.3
    return placed


def _crowd(ids: Sequence[int], rng: random.Random) -> list[tuple[int, int, float]]:
    """Each letter at one position, at times two, or on top of the letter before; few are lost, and there are gaps."""
    placed, position = [], 0
    for letter in ids:
        chance, loudness = rng.random(), rng.uniform(0.5, 1.3)
        if chance > _LOST:
            continue
        position += chance > _ON_TOP
        placed.append((letter, position, loudness))
        if chance > _TWICE:
            position += 1
            placed.append((letter, position, loudness))
        position += rng.random() < 0.15
    return placed


@torch.no_grad()
def _sound(
    embed: torch.nn.Embedding, placed: Sequence[tuple[int, int, float]], noise: float, rng: random.Random
) -> Tensor:
    """The embeddings at their positions, mixed with a neighbour, and noisy: (positions, width)."""
    ids, positions, loudness = (torch.tensor(column) for column in zip(*placed, strict=True))
    heard = torch.zeros(int(positions[-1]) + 1, embed.embedding_dim)
    heard.index_add_(0, positions, embed(ids) * loudness[:, None])
    mixed = heard + rng.uniform(0, 0.5) * torch.roll(heard, rng.choice((-1, 1)), 0)
    return mixed + rng.uniform(0, noise) * heard.std() * torch.randn_like(heard)
