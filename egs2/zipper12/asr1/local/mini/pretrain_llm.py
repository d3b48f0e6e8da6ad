"""Pretrain the mini Qwen3 on texts of all languages, and on transcribing blurred embeddings.

In: sentences and word salad by language. Out: Qwen3ForCausalLM and its tokenizer, written by save_pretrained. Plain
language modelling leaves so small a model unable to read its input. Most steps therefore show it the prompt and the
embeddings of the text itself or of its transcription in the IPA (a real LLM has read dictionaries), blurred and noisy,
to be written out clean (reading.py). It learns to copy from random tokens first, then from letters, and at last from
phonemes, ever more blurred: sentences can be half guessed, and a model that guesses never learns to look.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from local.mini.reading import Line, Reader, sound
from local.mini.training_state import TrainingState, lr_factor
from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.model.prompt import end_id

_WARMUP = 200  # steps
_GROUPS = 4  # of lines of about equal length, so that little is padding


@dataclass(frozen=True)
class LlmSize:
    """Shape and schedule of the mini LLM."""

    pieces: int = 4000  # of the tokenizer, without special tokens
    width: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 384
    batch: int = 40  # lines at most,
    batch_positions: int = 2400  # and about as many positions of input
    steps: int = 4000
    lr: float = 2e-3
    decay_from: float = 0.0  # share of the steps after which the learning rate falls
    random_until: float = 0.25  # share of the steps that copy random tokens only; then ever more blurred,
    blurred_from: float = 0.65  # until from this share on all is as blurred as speech
    clearer: float = 0.0  # share of the batches that are less blurred than the rest
    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 0.15)  # of later steps: see reading.KINDS
    first_inputs: tuple[float, ...] = (0.4, 0.6, 0.0)  # of texts copied, see reading.INPUTS: at first,
    inputs: tuple[float, ...] = (0.1, 0.3, 0.6)  # and once they are blurred
    noise: float = 0.5  # of an embedding's own size, at most
    joined: float = 0.0  # share of the batches whose lines are several texts with pauses between,
    longest: int = 312  # up to this many positions: 25 s of speech
    checkpoint_every: int = 200  # steps
    report_every: int = 1000  # steps


def build(size: LlmSize, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Return an untrained mini Qwen3 that stops at both of Qwen3's end tokens."""
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
    stops = [end, tokenizer.pad_token_id]
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    return model


def train(
    model: Qwen3ForCausalLM,
    reader: Reader,
    seed: int,
    out: Path,
    report: Callable[[Qwen3ForCausalLM], dict] = lambda model: {},
    phase: int = 1,
) -> None:
    """Train for reader.size.steps and write the model, its tokenizer and log to `out`.

    An interrupted phase resumes from out/state.pt. report: figures for the log, every size.report_every steps.
    """
    size = reader.size
    torch.manual_seed(seed)
    model.set_attn_implementation("eager")  # faster than the fused kernel in bf16 on a CPU
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    state = TrainingState(out / "state.pt", model, optimiser, reader.rng, {**asdict(size), "seed": seed})
    state.load()
    start = time.monotonic() - state.seconds
    while state.step < size.steps:
        model.train()
        state.step += 1
        for group in optimiser.param_groups:
            group["lr"] = size.lr * lr_factor(state.step, size.steps, _WARMUP, size.decay_from)
        loss = _train_step(model, optimiser, reader, state.step / size.steps)
        state.seconds = round(time.monotonic() - start, 1)
        last = state.step == size.steps
        if state.step % 50 == 0 or last:
            state.lines.append({"step": state.step, "loss": round(loss, 4), "seconds": state.seconds})
            log(f"mini Qwen3 {state.lines[-1]}")
        if state.step % size.report_every == 0 or last:
            state.lines.append({"step": state.step, **report(model.eval())})
            log(f"mini Qwen3 {state.lines[-1]}")
        if state.step % size.checkpoint_every == 0 and not last:
            state.save()
    _save(model, reader.tokenizer, out, state.lines, phase)
    state.path.unlink(missing_ok=True)


def _train_step(model: Qwen3ForCausalLM, optimiser: torch.optim.Optimizer, reader: Reader, progress: float) -> float:
    """Train on one batch, in groups of lines of about equal length. Returns the loss per token."""
    batch = sorted(reader.batch(progress), key=lambda line: line.num_positions + len(line.text))
    num_tokens, total = sum(len(line.text) for line in batch), 0.0
    each = -(-len(batch) // _GROUPS)
    for first in range(0, len(batch), each):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            loss = summed_loss(model, batch[first : first + each], reader.size.noise, reader.rng) / num_tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return total


def _save(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, lines: list[dict], phase: int
) -> None:
    """Save in half precision; the rounding is far below the training noise."""
    model.half().save_pretrained(out)
    model.float()
    tokenizer.save_pretrained(out)
    with atomic_path(out / f"training_phase{phase}.jsonl") as log_file:
        log_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def summed_loss(model: Qwen3ForCausalLM, batch: Sequence[Line], noise: float, rng: random.Random) -> Tensor:
    """Return the cross-entropy of the lines' texts, summed over tokens, in nats."""
    embed = model.get_input_embeddings()
    inputs, labels = [], []
    for line in batch:
        shown = [embed(torch.tensor(line.prompt)), sound(embed, line, noise, rng)] if line.heard else []
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
    return functional.cross_entropy(model.lm_head(hidden[labelled]).float(), targets[labelled], reduction="sum")
