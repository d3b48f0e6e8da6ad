"""Pretrain the mini Whisper: an encoder of 13 languages, and a decoder that detects and transcribes them.

In: synthetic speech (pretraining_data). Out: WhisperForConditionalGeneration with tokenizer and feature extractor,
written by save_pretrained. A CTC head on the encoder teaches it to listen before the decoder can attend; it is
dropped at the end.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from local.mini.hearing import Batch, Collate, groups, spelled
from local.mini.pretraining_data import PretrainingUtterance
from local.mini.training_state import TrainingState, lr_factor
from zipperasr.atomic import atomic_path
from zipperasr.audio.segments import cut_all, segment_frames
from zipperasr.cli import log
from zipperasr.model.backbones.whisper import WhisperSpeechEncoder

_WARMUP = 300  # steps


@dataclass(frozen=True)
class WhisperSize:
    """Shape and schedule of the mini Whisper."""

    mel_bins: int = 80
    width: int = 128
    encoder_layers: int = 4
    decoder_layers: int = 2
    heads: int = 4
    pieces: int = 1200  # of the tokenizer, without special tokens
    batch_frames: int = 5000  # mel frames per step
    steps: int = 6000
    lr: float = 2e-3
    chunk_s: tuple[float, ...] = (1.0, 2.0)  # chunk lengths of the steps that encode in chunks
    chunked_share: float = 0.5  # share of those steps
    decoder_every: int = 1  # train the decoder every n-th step, 0: never; CTC is trained in every step
    spec_augment: bool = True
    ctc_units: str = "letters"  # targets of CTC: letters or phonemes
    decay_from: float = 0.0  # share of the steps after which the learning rate decays
    joined: float = 0.0  # share of the steps without decoder that encode utterances joined with pauses,
    longest_s: float = 25.0  # into clips of at most this length
    checkpoint_every: int = 500  # steps
    report_every: int = 1000  # steps


class PretrainingModel(nn.Module):
    """Whisper with a CTC head on its encoder."""

    def __init__(self, whisper: WhisperForConditionalGeneration, num_units: int):
        super().__init__()
        self.whisper = whisper
        self.encoder = WhisperSpeechEncoder(whisper.model.encoder)
        self.ctc = nn.Linear(self.encoder.width, num_units + 1)

    def forward(self, batch: Batch, chunk_frames: int | None, with_decoder: bool) -> tuple[Tensor, Tensor]:
        """Return the CTC loss per unit and the decoder's cross-entropy per token (0 without it)."""
        encoded, counts = self.encode(batch, chunk_frames)
        log_probs = self.ctc(encoded).float().log_softmax(-1).transpose(0, 1)
        ctc = functional.ctc_loss(log_probs, batch.units, torch.tensor(counts), batch.num_units, zero_infinity=True)
        if not with_decoder:
            return ctc, ctc.new_zeros(())
        decoded = self.whisper.model.decoder(input_ids=batch.tokens[:, :-1], encoder_hidden_states=encoded)
        logits = self.whisper.proj_out(decoded.last_hidden_state).float()
        cross_entropy = functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100, label_smoothing=0.1
        )
        return ctc, cross_entropy

    def encode(self, batch: Batch, chunk_frames: int | None) -> tuple[Tensor, list[int]]:
        """Return the encoder's output, padded (utterances, frames, width), and the frames of each utterance."""
        segments, per_utterance = cut_all(batch.lengths, chunk_frames or self.encoder.max_mel_frames)
        hidden, frames = self.encoder(batch.mel, segments)
        counts = [sum(frames[end - size : end]) for size, end in zip(per_utterance, _ends(per_utterance), strict=True)]
        return pad_sequence(list(hidden.split(counts)), batch_first=True), counts


def build(size: WhisperSize, tokenizer: WhisperTokenizerFast, language_tokens: Sequence[str]):
    """Return an untrained mini Whisper with the language tokens in its generation settings."""
    ids = tokenizer.convert_tokens_to_ids
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=size.mel_bins,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        max_target_positions=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=ids("<|startoftranscript|>"),
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        is_multilingual=True,
        lang_to_id={f"<|{token}|>": ids(f"<|{token}|>") for token in language_tokens},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        max_length=128,
    )
    return model


def train(
    utterances: Sequence[PretrainingUtterance],
    tokenizer: WhisperTokenizerFast,
    language_tokens: dict[str, str],
    size: WhisperSize,
    seed: int,
    out: Path,
    phase: int = 1,
    previous: Path | None = None,
    report: Callable[[PretrainingModel, Sequence[str]], dict] = lambda model, units: {},
) -> None:
    """Train for size.steps and write the model, its tokenizer, feature extractor and log to `out`.

    previous: the model of the phase before, from which this one starts, with a new CTC head; None for a new model.
    report: figures for the log, every size.report_every steps. An interrupted phase resumes from out/state.pt.
    """
    torch.manual_seed(seed)
    units = sorted({unit for utterance in utterances for unit in spelled(utterance, size)})
    if previous is None:
        whisper = build(size, tokenizer, list(language_tokens.values()))
    else:
        whisper = WhisperForConditionalGeneration.from_pretrained(
            previous, dtype=torch.float32, trust_remote_code=False
        )
    whisper.set_attn_implementation("eager")  # twice as fast as the fused kernel in bf16 on a CPU
    model = PretrainingModel(whisper, len(units))
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(seed)
    state = TrainingState(out / "state.pt", model, optimiser, rng, {**asdict(size), "seed": seed})
    state.load()
    batches = itertools.islice(groups(utterances, size, seed), state.step, None)
    collate = Collate(tokenizer, language_tokens, units, size, rng)
    start = time.monotonic() - state.seconds
    while state.step < size.steps:
        model.train()
        state.step += 1
        for group in optimiser.param_groups:
            group["lr"] = size.lr * lr_factor(state.step, size.steps, _WARMUP, size.decay_from)
        with_decoder = size.decoder_every > 0 and state.step % size.decoder_every == 0
        losses = _train_step(model, optimiser, collate, next(batches), with_decoder)
        state.seconds = round(time.monotonic() - start, 1)
        last = state.step == size.steps
        if state.step % 50 == 0 or last:
            state.lines.append({"step": state.step, **losses, "seconds": state.seconds})
            log(f"mini Whisper {state.lines[-1]}")
        if state.step % size.report_every == 0 or last:
            state.lines.append({"step": state.step, **report(model.eval(), units)})
            log(f"mini Whisper {state.lines[-1]}")
        if state.step % size.checkpoint_every == 0 and not last:
            state.save()
    _save(model.whisper, tokenizer, size, out, state.lines, phase)
    state.path.unlink(missing_ok=True)


def _train_step(
    model: PretrainingModel,
    optimiser: torch.optim.Optimizer,
    collate: Collate,
    group: list[PretrainingUtterance],
    with_decoder: bool,
) -> dict[str, float]:
    """Train on one batch. Returns its losses."""
    size, rng = collate.size, collate.rng
    chunk_s = rng.choice(size.chunk_s) if rng.random() < size.chunked_share else None
    joined = not with_decoder and rng.random() < size.joined
    batch = collate.joined(group) if joined else collate(group)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        ctc, cross_entropy = model(batch, segment_frames(chunk_s) if chunk_s else None, with_decoder)
    (ctc + cross_entropy).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return {"ctc": round(ctc.item(), 4), "cross_entropy": round(cross_entropy.item(), 4)}


def load_tokenizer(directory: Path) -> WhisperTokenizerFast:
    """Load the tokenizer of a trained mini Whisper."""
    return WhisperTokenizerFast.from_pretrained(directory)


def _save(
    whisper: WhisperForConditionalGeneration,
    tokenizer: WhisperTokenizerFast,
    size: WhisperSize,
    out: Path,
    lines: list[dict],
    phase: int,
) -> None:
    """Save in half precision; the rounding is far below the training noise."""
    whisper.half().save_pretrained(out)
    whisper.float()
    tokenizer.save_pretrained(out)
    WhisperFeatureExtractor(feature_size=size.mel_bins).save_pretrained(out)
    with atomic_path(out / f"training_phase{phase}.jsonl") as log_file:
        log_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _ends(sizes: Sequence[int]) -> list[int]:
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(total)
    return ends
