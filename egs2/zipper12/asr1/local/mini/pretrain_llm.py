"""Pretrain the mini Qwen3: the languages' texts, and writing down what blurred embeddings say.

In: texts by language. Out: Qwen3ForCausalLM and its tokenizer, written by save_pretrained. Plain language
modelling alone leaves so small a model unable to read its input; most of the steps therefore show it the prompt
and the text's own token embeddings, stretched and noisy, to be written out clean.
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

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids


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
    plain_share: float = 0.15  # share of steps with text alone
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


def train(
    texts: dict[str, list[str]],
    tokenizer: PreTrainedTokenizerFast,
    table: LanguageTable,
    size: LlmSize,
    seed: int,
    out: Path,
) -> None:
    """Train for size.steps and write the model, its tokenizer and log to `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = build(size, tokenizer).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    prompts = {code: prompt_ids(tokenizer, table[code]) for code in texts}
    coded = [(prompts[code], transcript_ids(tokenizer, text)) for code in sorted(texts) for text in texts[code]]
    lines, start = [], time.monotonic()
    for step in range(1, size.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = size.lr * min(1, step / 200) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / size.steps)))
        plain = rng.random() < size.plain_share
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            loss = _loss(model, _similar_lengths(coded, size.batch, rng), size, rng, plain)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 50 == 0 or step == size.steps:
            seconds = round(time.monotonic() - start, 1)
            lines.append({"step": step, "plain": plain, "loss": round(loss.item(), 4), "seconds": seconds})
            log(f"mini Qwen3 {lines[-1]}")
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _similar_lengths(coded: list, count: int, rng: random.Random) -> list:
    """A random batch of texts of similar length: little padding."""
    drawn = sorted(rng.sample(coded, 5 * count), key=lambda pair: len(pair[1]))
    start = rng.randrange(4 * count)
    return drawn[start : start + count]


def _loss(
    model: Qwen3ForCausalLM,
    batch: Sequence[tuple[list[int], list[int]]],
    size: LlmSize,
    rng: random.Random,
    plain: bool,
) -> Tensor:
    """Cross-entropy per token of the text, after its blurred embeddings or after nothing."""
    embed = model.get_input_embeddings()
    inputs, labels = [], []
    for prompt, text in batch:
        before = [] if plain else [embed(torch.tensor(prompt)), _blur(embed, text[:-1], size.noise, rng)]
        rows = torch.cat([*before, embed(torch.tensor(text))])
        target = torch.full((len(rows),), -100)
        target[len(rows) - len(text) :] = torch.tensor(text)
        inputs.append(rows)
        labels.append(target)
    padded = pad_sequence(inputs, batch_first=True)
    mask = pad_sequence([torch.ones(len(rows), dtype=torch.long) for rows in inputs], batch_first=True)
    hidden = model.model(inputs_embeds=padded, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    targets = pad_sequence(labels, batch_first=True, padding_value=-100)[:, 1:]
    labelled = targets >= 0
    return functional.cross_entropy(model.lm_head(hidden[labelled]).float(), targets[labelled])


@torch.no_grad()
def _blur(embed: torch.nn.Embedding, ids: list[int], noise: float, rng: random.Random) -> Tensor:
    """Each token's embedding for one to four frames, mixed at its borders, with gaps, scaled and noisy."""
    rows = []
    for token in embed(torch.tensor(ids)):
        rows += [token * rng.uniform(0.4, 1.5) for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
        if rng.random() < 0.3:
            rows.append(torch.zeros_like(token))
    stretched = torch.stack(rows)
    neighbour = torch.roll(stretched, rng.choice((-1, 1)), 0)
    mixed = stretched + rng.uniform(0, 0.5) * neighbour
    level = rng.uniform(0, noise) * stretched.std()
    return mixed + level * torch.randn_like(mixed)
