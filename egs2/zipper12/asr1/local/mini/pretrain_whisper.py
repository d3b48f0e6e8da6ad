"""Pretrain the mini Whisper: an encoder that hears 13 languages, a decoder that names and transcribes them.

In: synthetic speech (pretraining_data). Out: WhisperForConditionalGeneration with tokenizer and feature extractor,
written by save_pretrained. A CTC head on the encoder teaches it to listen before the decoder can attend; it is
dropped at the end.
"""

from __future__ import annotations

import json
import math
import random
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

from local.mini.pretraining_data import PretrainingUtterance
from zipperasr.cli import log
from zipperasr.model.encoder import SpeechEncoder
from zipperasr.model.segments import cut_all, segment_frames

CTC_UNITS = ("phonemes", "letters")


@dataclass(frozen=True)
class WhisperSize:
    """Shape and schedule of the mini Whisper."""

    mel_bins: int = 80
    width: int = 128
    encoder_layers: int = 4
    decoder_layers: int = 2
    heads: int = 4
    pieces: int = 1200  # tokenizer, special tokens apart
    batch_frames: int = 5000  # mel frames per step
    steps: int = 6000
    lr: float = 2e-3
    chunk_s: tuple[float, ...] = (1.0, 2.0)  # lengths of chunks, in the steps that hear the utterance in chunks
    chunked_share: float = 0.5  # share of those steps
    decoder_every: int = 1  # the decoder trains in every n-th step only, 0: never; the encoder's CTC in each
    spec_augment: bool = True
    ctc_units: str = "letters"  # what CTC spells: one of CTC_UNITS


class PretrainingModel(nn.Module):
    """Whisper with a CTC head on its encoder."""

    def __init__(self, whisper: WhisperForConditionalGeneration, num_units: int):
        super().__init__()
        self.whisper = whisper
        self.encoder = SpeechEncoder(whisper.model.encoder)
        self.ctc = nn.Linear(self.encoder.width, num_units + 1)

    def forward(self, batch: _Batch, chunk_frames: int | None, with_decoder: bool) -> tuple[Tensor, Tensor]:
        """Returns the CTC loss per unit and the decoder's cross-entropy per token (0 without it)."""
        segments, per_utterance = cut_all(batch.lengths, chunk_frames or self.encoder.max_mel_frames)
        hidden, frames = self.encoder(batch.mel, segments)
        counts = [sum(frames[end - size : end]) for size, end in zip(per_utterance, _ends(per_utterance), strict=True)]
        encoded = pad_sequence(list(hidden.split(counts)), batch_first=True)
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


@dataclass(frozen=True)
class _Batch:
    mel: Tensor
    lengths: list[int]
    units: Tensor
    num_units: Tensor
    tokens: Tensor
    targets: Tensor


def build(size: WhisperSize, tokenizer: WhisperTokenizerFast, language_tokens: Sequence[str]):
    """An untrained mini Whisper whose generation settings know the language tokens."""
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
    model.set_attn_implementation("eager")  # in bf16 on a CPU twice as fast as the fused kernel
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
) -> None:
    """Train for size.steps and write the model, its tokenizer, feature extractor and log to `out`.

    phase: 2 and later go on from the model that the phase before left in `out`, with a new CTC head.
    """
    torch.manual_seed(seed)
    units = sorted({unit for utterance in utterances for unit in _spelled(utterance, size)})
    if phase == 1:
        whisper = build(size, tokenizer, list(language_tokens.values()))
    else:
        whisper = WhisperForConditionalGeneration.from_pretrained(
            out, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
        )
    model = PretrainingModel(whisper, len(units)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _lr_factor(step, size.steps))
    batches = _batches(utterances, tokenizer, language_tokens, units, size, seed)
    rng = random.Random(seed)
    lines, start = [], time.monotonic()
    for step in range(1, size.steps + 1):
        chunk_s = rng.choice(size.chunk_s) if rng.random() < size.chunked_share else None
        with_decoder = size.decoder_every > 0 and step % size.decoder_every == 0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            ctc, cross_entropy = model(next(batches), segment_frames(chunk_s) if chunk_s else None, with_decoder)
        (ctc + cross_entropy).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 50 == 0 or step == size.steps:
            line = {"step": step, "ctc": round(ctc.item(), 4), "cross_entropy": round(cross_entropy.item(), 4)}
            lines.append({**line, "seconds": round(time.monotonic() - start, 1)})
            log(f"mini Whisper {lines[-1]}")
        if step % 1000 == 0 or step == size.steps:
            _save(model.whisper, tokenizer, size, out, lines, phase)


def _save(
    whisper: WhisperForConditionalGeneration,
    tokenizer: WhisperTokenizerFast,
    size: WhisperSize,
    out: Path,
    lines: list[dict],
    phase: int,
) -> None:
    """Write in half precision: a quarter of the size limit, and the rounding is far below the training noise."""
    whisper.half().save_pretrained(out)
    whisper.float()
    tokenizer.save_pretrained(out)
    WhisperFeatureExtractor(feature_size=size.mel_bins).save_pretrained(out)
    (out / f"training_phase{phase}.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def _batches(
    utterances: Sequence[PretrainingUtterance],
    tokenizer: WhisperTokenizerFast,
    language_tokens: dict[str, str],
    units: list[str],
    size: WhisperSize,
    seed: int,
) -> Iterator[_Batch]:
    """Batches of about equal length, shuffled, without end."""
    rng = random.Random(seed)
    index = {unit: number for number, unit in enumerate(units, 1)}
    while True:
        order = sorted(utterances, key=lambda utterance: len(utterance.mel) + rng.uniform(-20, 20))
        groups, group, frames = [], [], 0
        for utterance in order:
            if group and frames + len(utterance.mel) > size.batch_frames:
                groups.append(group)
                group, frames = [], 0
            group.append(utterance)
            frames += len(utterance.mel)
        groups.append(group)
        rng.shuffle(groups)
        yield from (_collate(group, tokenizer, language_tokens, index, size, rng) for group in groups)


def _collate(group, tokenizer, language_tokens, index: dict[str, int], size: WhisperSize, rng: random.Random) -> _Batch:
    prefixes = ["<|startoftranscript|>", None, "<|transcribe|>", "<|notimestamps|>"]
    rows = []
    for utterance in group:
        names = [name or f"<|{language_tokens[utterance.language]}|>" for name in prefixes]
        text = tokenizer(utterance.text, add_special_tokens=False)["input_ids"]
        rows.append(torch.tensor([*tokenizer.convert_tokens_to_ids(names), *text, tokenizer.eos_token_id]))
    tokens = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    targets = pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-100)
    spelled = [torch.tensor([index[unit] for unit in _spelled(utterance, size)]) for utterance in group]
    mels = [torch.from_numpy(utterance.mel).float() for utterance in group]
    return _Batch(
        mel=torch.cat([_mask(mel, rng) for mel in mels] if size.spec_augment else mels),
        lengths=[len(utterance.mel) for utterance in group],
        units=torch.cat(spelled),
        num_units=torch.tensor([len(ids) for ids in spelled]),
        tokens=tokens,
        targets=targets,
    )


def _spelled(utterance: PretrainingUtterance, size: WhisperSize) -> Sequence[str]:
    """The units that CTC spells: phonemes, or the text in lower case with Korean syllables taken apart."""
    if size.ctc_units == "phonemes":
        return utterance.phonemes
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in utterance.text.lower())


def _mask(mel: Tensor, rng: random.Random) -> Tensor:
    """SpecAugment: one band and one stretch set to the mean (arXiv 1904.08779)."""
    band, stretch = rng.randint(0, 15), rng.randint(0, 15)
    low, first = rng.randint(0, mel.shape[1] - band), rng.randint(0, max(0, len(mel) - stretch))
    mel[:, low : low + band] = mel.mean()
    mel[first : first + stretch] = mel.mean()
    return mel


def _lr_factor(step: int, steps: int) -> float:
    warmup = min(300, steps // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _ends(sizes: Sequence[int]) -> list[int]:
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(total)
    return ends
