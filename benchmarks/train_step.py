"""A training step of ours compared with Hugging Face's layers, one utterance at a time, and with padded batches.

Output: a table in RESULTS.md with seconds of audio per second, model FLOP utilisation (MFU) and peak memory. Utterances
of 10 to 20 s (mean 15 s, as in MLS), random weights. The methods alternate in each round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from budget import Budget, rounds_note
from contestants import OneByOne, Ours, Peers
from memory import peak_gb, reset_peak
from record import write_section
from shared_options import add_device, add_results, add_rounds
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from zipperasr.audio.segments import REGIMES, cut, mel_frames, num_positions
from zipperasr.batching.batch import Example
from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table
from zipperasr.model.backbones.whisper import WhisperSpeechEncoder
from zipperasr.model.build import add_adapters, assemble, set_trainable
from zipperasr.model.model_config import EncoderLoraConfig, LoraConfig, ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.flops import Lengths, step_flops
from zipperasr.prepare.dataset_table import PHASES

CODES = ("en", "fr", "th", "de", "es", "ru", "vi", "it", "ar", "ja", "ko", "pt")
PROMPT_TOKENS, TOKENS_PER_S = 12, 4.5  # Qwen3 tokens per second of speech
MAX_POSITIONS = 2048  # in a pack
AGREEMENT = 1e-4  # tolerance between the two methods that compute the same function, in float32
CHUNK_FRAMES = {"chunked": 800, "full": None}
GPU_TFLOPS = {"H100": 989.4, "H200": 989.4, "A100": 312.0}  # bfloat16 without sparsity, from NVIDIA's data sheets


@dataclass(frozen=True)
class Size:
    """Shapes of both backbones."""

    mel_bins: int
    encoder: tuple[int, int, int, int]  # width, layers, heads, feed-forward
    llm: tuple[int, int, int, int, int, int]  # width, layers, heads, key heads, head dimension, feed-forward
    vocabulary: int
    rank: int
    packs: int  # per step

    def whisper(self) -> WhisperEncoder:
        width, layers, heads, inner = self.encoder
        return WhisperEncoder(
            WhisperConfig(
                num_mel_bins=self.mel_bins, d_model=width, encoder_layers=layers, encoder_attention_heads=heads,
                encoder_ffn_dim=inner,
            )
        )  # fmt: skip

    def qwen3(self) -> Qwen3ForCausalLM:
        width, layers, heads, key_heads, head_dim, inner = self.llm
        return Qwen3ForCausalLM(
            Qwen3Config(
                hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_heads,
                head_dim=head_dim, intermediate_size=inner, vocab_size=self.vocabulary, tie_word_embeddings=True,
                pad_token_id=0, bos_token_id=None, eos_token_id=1,
            )
        )  # fmt: skip


SIZES = {
    "tiny": Size(80, (32, 2, 2, 64), (32, 2, 2, 1, 16, 64), 320, 4, 1),
    "mini": Size(80, (128, 4, 4, 512), (128, 3, 4, 2, 32, 384), 1_320, 16, 2),
    "middle": Size(80, (384, 6, 6, 1536), (512, 8, 8, 4, 64, 1536), 151_936, 32, 2),
    "paper": Size(128, (1280, 32, 20, 5120), (2048, 28, 16, 8, 128, 6144), 151_936, 32, 16),
}


def build(options: argparse.Namespace) -> SpeechLLM:
    """Our model with random weights; the encoder has zipper_soft in adaptation and no adapters in alignment."""
    size = SIZES[options.size]
    config = ModelConfig(
        "none", "none", size.mel_bins, None, EncoderLoraConfig(size.rank, 2 * size.rank),
        LoraConfig(size.rank, 2 * size.rank), checkpointing=options.checkpointing,
    )  # fmt: skip
    with torch.device(options.device):
        model = assemble(config, WhisperSpeechEncoder(size.whisper()), size.qwen3())
        if options.phase == "sft":
            add_adapters(model, config, "zipper_soft", CODES, torch.randn(len(CODES), 1280, device=options.device))
    set_trainable(model, options.phase)
    if options.compile:
        model.compile_layers()
    return _in_precision(model, options).train()


def contestant(name: str, options: argparse.Namespace, ours: SpeechLLM | None = None):
    """Return the method `name` (ours, one_by_one or peers) and the parameters that it trains."""
    ours = ours or build(options)
    packs = draw_packs(SIZES[options.size], options.packs or SIZES[options.size].packs)
    chunk_frames = CHUNK_FRAMES[options.regime]
    if name == "peers":
        size = SIZES[options.size]
        with torch.device(options.device):
            backbones = (_in_precision(part, options) for part in (size.whisper(), size.qwen3()))
        peers = Peers.on(*backbones, options.phase, ours, packs=packs, batch_size=options.peer_batch)
        return peers, peers.parameters()
    chosen = (Ours if name == "ours" else OneByOne)(ours, packs, chunk_frames)
    return chosen, [p for p in ours.parameters() if p.requires_grad]


def draw_packs(size: Size, count: int) -> list[list[Example]]:
    """Packs of one language each, filled with utterances of 10 to 20 s."""
    draw, noise = random.Random(1), torch.Generator().manual_seed(1)
    packs = []
    for number in range(count):
        pack, room = [], MAX_POSITIONS
        while True:
            seconds = draw.uniform(10.0, 20.0)
            samples, tokens = int(seconds * 16_000), int(seconds * TOKENS_PER_S)
            room -= PROMPT_TOKENS + num_positions(samples) + tokens
            if room < 0:
                break
            ids = [draw.randrange(2, size.vocabulary) for _ in range(PROMPT_TOKENS + tokens)]
            mel = torch.randn(mel_frames(samples), size.mel_bins, generator=noise)
            code = CODES[number % len(CODES)]
            pack.append(Example("id", code, mel, samples, ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS:]))
        packs.append(pack)
    return packs


class Step:
    """Gradients, clipping and AdamW on one batch; clipping and AdamW are torch's for all methods."""

    def __init__(self, chosen, trained: list[nn.Parameter], device: str):
        self.chosen, self.trained, self.device = chosen, trained, device
        self.optimiser = torch.optim.AdamW(trained, lr=0.0)  # 0: every round starts with the same weights

    def run(self) -> tuple[float, Tensor]:
        """Return the time of one step in seconds, and its summed loss."""
        self._wait()
        start = time.perf_counter()
        self.optimiser.zero_grad()
        loss = self.chosen.step()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self._wait()
        return time.perf_counter() - start, loss

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def peak_memory_gb(name: str, options: argparse.Namespace) -> float:
    """Peak memory of one step, without the model: in a separate process on a CPU, from the allocator on a GPU."""
    if options.device == "cuda":
        return _peak_of_step(name, options)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of_step, (name, options))


def _peak_of_step(name: str, options: argparse.Namespace) -> float:
    torch.set_num_threads(options.threads)
    step = Step(*contestant(name, options), options.device)
    before = reset_peak(options.device)
    step.run()
    return peak_gb(options.device) - before


def peak_tflops(options: argparse.Namespace) -> tuple[float, str]:
    """Return the device's peak performance and the source of that figure."""
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
        for known, tflops in GPU_TFLOPS.items():
            if known in name and options.dtype == "bfloat16":
                return tflops, "the data sheet"
    side = 1024 if options.size == "tiny" else 4096
    a, b = (torch.randn(side, side, device=options.device, dtype=getattr(torch, options.dtype)) for _ in range(2))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        (a @ b).sum().item()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e12, f"measured with {side} x {side} matrices"


def needed_flops(model: SpeechLLM, phase: str, ours: Ours) -> float:
    """Number of floating-point operations that a training step on this batch needs."""
    longest = ours.chunk_frames or model.encoder.max_mel_frames
    segments = [(piece + 1) // 2 for length in ours.batch.speech.lengths for piece in cut(length, longest)]
    lengths = Lengths(segments, ours.batch.text.lengths, len(ours.batch.text.label_places))
    return step_flops(model, phase, lengths).total


def measure(options: argparse.Namespace, budget: Budget, parts_left: int) -> str:
    """Return the table of one size, phase and regime, preceded by a description of the batch."""
    names = ("ours", "one_by_one", "peers")
    shared = build(options)
    steps = {name: Step(*contestant(name, options, shared), options.device) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    losses = {}
    for measured in budget.rounds(options.warmup, options.rounds, parts_left):
        for name, step in steps.items():
            spent, losses[name] = step.run()
            if measured:
                seconds[name].append(spent)
    ours: Ours = steps["ours"].chosen
    batch = ours.batch
    audio_s, labels = batch.num_samples / 16_000, len(batch.text.label_places)
    flops = needed_flops(shared, options.phase, ours)
    peak, source = peak_tflops(options)
    rows = []
    for name in names:
        mine = statistics.median(seconds[name])
        ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True))
        mfu = f"{100 * flops / mine / (peak * 1e12):.0f} %"
        memory = f"{peak_memory_gb(name, options):.2f}"
        rows.append([steps[name].chosen.name, f"{mine:.3f}", f"{audio_s / mine:,.0f}", f"{ratio:.2f}", mfu, memory])
        log(" ".join(rows[-1]))
    apart = abs(losses["ours"] - losses["one_by_one"]).item() / labels
    if options.dtype == "float32" and apart > AGREEMENT:
        raise ValueError(
            f"losses per label of {names[0]} and {names[1]} differ by {apart:.1e}, wanted at most {AGREEMENT:g}"
        )
    fill = batch.num_positions / (batch.num_packs * MAX_POSITIONS)
    header = ["method", "s per step", "audio s per s", "time relative to ours", "MFU", "peak GB"]
    made = rounds_note(len(seconds["ours"]), options.rounds)
    return (
        f"{options.phase}, {options.regime}, {made}: {batch.num_packs} packs, {len(batch.utt_ids)} utterances, "
        f"{audio_s:.0f} s of speech, fill rate {100 * fill:.0f} %. Needed: {flops / audio_s / 1e9:,.1f} GFLOP per "
        f"second of speech; peak: {peak:.2f} TFLOP/s ({source}). Losses per label of the first two methods differ by "
        f"{apart:.1e}.\n\n" + table(header, rows)
    )


def _in_precision(module: nn.Module, options: argparse.Namespace) -> nn.Module:
    for parameter in module.parameters():
        parameter.data = parameter.data.to(getattr(torch, options.dtype))
    return module


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--size", choices=SIZES, default="mini", help="size of the backbones")
    options.add_argument("--phase", choices=PHASES, default="sft", help="align trains the encoder, sft its adapters")
    options.add_argument("--regime", choices=REGIMES, nargs="*", default=REGIMES, help="encoder context")
    options.add_argument("--packs", type=int, default=0, help="packs per step; 0: the default of the size")
    options.add_argument("--peer_batch", type=int, default=8, help="utterances per padded batch")
    options.add_argument("--checkpointing", action="store_true", help="recompute activations, except in padded batches")
    options.add_argument("--compile", action="store_true", help="use torch.compile, except for padded batches")
    add_rounds(options, rounds=5, warmup=1)
    add_device(options)
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.train_step")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size = SIZES[options.size]
    (width, layers, *_), (llm_width, llm_layers, *_) = size.encoder, size.llm
    parts = [
        f"Whisper encoder {width} x {layers} with zipper_soft (padded batches: PEFT's LoRA), Qwen3 {llm_width} x "
        f"{llm_layers}, vocabulary {size.vocabulary:,}, rank {size.rank}, random weights, utterances of 10 to 20 s; "
        f"forward, backward, clipping and AdamW, {options.dtype}. Peak memory is "
        "that of a step, without the model. MFU counts only the operations that the batch needs: no padding, no "
        "gradients of frozen weights, logits at label positions only."
    ]
    title = f"Training step, {options.size}, {options.phase}, {options.device}, {options.dtype}"
    title += ", compiled" if options.compile else ""
    budget = Budget(options.seconds)
    for number, regime in enumerate(options.regime):
        chosen = argparse.Namespace(**{**vars(options), "regime": regime})
        parts.append(measure(chosen, budget, len(options.regime) - number))
        write_section(title, "\n\n".join(parts), options.results)


if __name__ == "__main__":
    sys.exit(main())
