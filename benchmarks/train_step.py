"""A training step at three sizes: ours, HF's layers one utterance at a time, and the way peers do it.

In: a size, a device, a phase, a regime. Out: a table in RESULTS.md: audio seconds per second, model-FLOP utilisation,
peak memory. Utterances of 10 to 20 s (mean 15, as in MLS), random weights. All take turns in each round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from budget import Budget, rounds_note
from contestants import OneByOne, Ours, Peers
from memory import peak_gb, reset_peak
from record import RESULTS, write_section
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
PROMPT_TOKENS, TOKENS_PER_S = 12, 4.5  # of a transcript in Qwen3's pieces
MAX_POSITIONS = 2048  # of a pack
AGREEMENT = 1e-4  # of the two ways that compute the same function, in float32
CHUNK_FRAMES = {"chunked": 800, "full": None}
GPU_TFLOPS = {"H100": 989.4, "H200": 989.4, "A100": 312.0}  # bfloat16 without sparsity, by the makers' data sheets


@dataclass(frozen=True)
class Size:
    """Shapes of both backbones."""

    mel_bins: int
    encoder: tuple[int, int, int, int]  # width, layers, heads, feed-forward
    llm: tuple[int, int, int, int, int, int]  # width, layers, heads, key heads, head dimension, feed-forward
    vocabulary: int
    rank: int
    packs: int  # of a step

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
    """Our model with random weights: zipper_soft in stage 2, no adapters on the encoder in stage 1."""
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
    """One of ours, one_by_one, peers, with the parameters that it trains."""
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
    """Packs of one language each, as full as utterances of 10 to 20 s make them."""
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
    """Gradients, clipping and AdamW on one batch; torch's own for all."""

    def __init__(self, chosen, trained: list[nn.Parameter], device: str):
        self.chosen, self.trained, self.device = chosen, trained, device
        self.optimiser = torch.optim.AdamW(trained, lr=0.0)  # every round sees the same weights

    def run(self) -> tuple[float, Tensor]:
        """Seconds of one step, and its summed loss."""
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
    """Of one step, without the model: a process of its own on a CPU, the allocator's count on a GPU."""
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
    """What the device can do at best, and where that figure comes from."""
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
    return 2 * side**3 / min(seconds) / 1e12, f"a product of {side} x {side} matrices here"


def needed_flops(model: SpeechLLM, phase: str, ours: Ours) -> float:
    """Of one training step on this way's batch."""
    longest = ours.chunk_frames or model.encoder.max_mel_frames
    segments = [(piece + 1) // 2 for length in ours.batch.speech.lengths for piece in cut(length, longest)]
    lengths = Lengths(segments, ours.batch.text.lengths, len(ours.batch.text.label_places))
    return step_flops(model, phase, lengths).total


def measure(options: argparse.Namespace, budget: Budget, parts_left: int) -> str:
    """The table of one size, phase and regime, with what it was measured on."""
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
        raise ValueError(f"losses per label of {names[0]} and {names[1]} are {apart:.1e} apart, wanted {AGREEMENT:g}")
    fill = batch.num_positions / (batch.num_packs * MAX_POSITIONS)
    header = ["way", "s a step", "audio s per s", "times ours", "MFU", "peak GB"]
    made = rounds_note(len(seconds["ours"]), options.rounds)
    return (
        f"{options.phase}, {options.regime}, {made}: {batch.num_packs} packs, {len(batch.utt_ids)} utterances, "
        f"{audio_s:.0f} s of speech, packs {100 * fill:.0f} % full. Needed: {flops / audio_s / 1e9:,.1f} GFLOP a "
        f"second of speech; at most {peak:.2f} TFLOP/s ({source}). Loss per label of the first two: {apart:.1e} "
        "apart.\n\n" + table(header, rows)
    )


def _in_precision(module: nn.Module, options: argparse.Namespace) -> nn.Module:
    for parameter in module.parameters():
        parameter.data = parameter.data.to(getattr(torch, options.dtype))
    return module


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--size", choices=SIZES, default="mini", help="of both backbones")
    options.add_argument("--phase", choices=PHASES, default="sft", help="align: the encoder trains; sft: its adapters")
    options.add_argument(
        "--regime", choices=REGIMES, nargs="*", default=REGIMES, help="how the encoder sees an utterance"
    )
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of weights and activations"
    )
    options.add_argument("--packs", type=int, default=0, help="packs of a step; 0: the size's own")
    options.add_argument("--peer_batch", type=int, default=8, help="utterances that the peers' way takes at once")
    options.add_argument("--checkpointing", action="store_true", help="ours and the second way recompute activations")
    options.add_argument("--compile", action="store_true", help="ours and the second way run through torch.compile")
    options.add_argument("--rounds", type=int, default=5, help="measured")
    options.add_argument("--warmup", type=int, default=1, help="rounds before")
    options.add_argument("--seconds", type=float, default=0.0, help="fewer rounds after so long; 0: no limit")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch on the CPU")
    options.add_argument("--results", type=Path, default=RESULTS, help="the page to write a section of")
    return run_step(_run, options.parse_args(argv), "benchmarks.train_step")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size = SIZES[options.size]
    (width, layers, *_), (llm_width, llm_layers, *_) = size.encoder, size.llm
    parts = [
        f"Whisper encoder {width} x {layers} with zipper_soft (PEFT's LoRA in the peers' way), Qwen3 {llm_width} x "
        f"{llm_layers}, vocabulary {size.vocabulary:,}, rank {size.rank}, random weights, utterances of 10 to 20 s; "
        f"forward, backward, clipping and AdamW, {options.dtype}. Peak memory is "
        "that of a step beside the model. MFU counts what the batch needs: no padding, no weight gradient of frozen "
        "weights, logits of labels alone."
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
