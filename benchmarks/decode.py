"""Greedy decoding at three sizes: ours, transformers' generate behind our encoder, and the way peers do it.

In: a size, a device, a regime. Out: a table in RESULTS.md: RTFx (seconds of speech per second). Utterances of 10 to
20 s, random weights; every utterance gets as many tokens as its reference has, on all sides. All take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from budget import Budget, rounds_note
from contestants import WINDOW_FRAMES, Peers
from record import RESULTS, write_section
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from torch.nn import functional
from train_step import CHUNK_FRAMES, CODES, SIZES, TOKENS_PER_S, Size, build, draw_packs
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast

from zipperasr.audio.segments import REGIMES
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.cli import log, parser, run_step
from zipperasr.decode.beam import left_padded, max_new_tokens
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.markdown import table
from zipperasr.model.speech_llm import SpeechLLM

STOP = 1  # of the backbones' configurations


@dataclass
class Ours:
    """Adapters folded, LoRA folded, static cache, rows that come and go."""

    decoder: Decoder
    batch_size: int

    def __post_init__(self) -> None:
        self.name = f"ours, {self.decoder.config.batch_size} rows"
        self.decoder.stops = ()  # every utterance gets the tokens of its reference

    def run(self, examples: Sequence[Example]) -> int:
        return sum(len(found.tokens) for found in self.decoder.run(_batches(examples, self.batch_size)))


@dataclass
class Generate:
    """transformers' generate with PEFT's LoRA unmerged, batches of utterances of similar length."""

    model: nn.Module  # with embed_speech, llm, causal_lm
    config: DecodeConfig
    chunk_frames: int | None
    encoder: str
    batch_size: int

    def __post_init__(self) -> None:
        self.name = f"{self.encoder}, transformers' generate, {self.batch_size} at a time"

    @torch.inference_mode()
    def run(self, examples: Sequence[Example]) -> int:
        return sum(self._batch(batch) for batch in _batches(examples, self.batch_size))

    def _batch(self, examples: Sequence[Example]) -> int:
        bounds = torch.tensor([max_new_tokens(example.num_samples, self.config) for example in examples])
        inputs, mask = left_padded(self.model, examples, self._encode(examples))
        output = self.model.llm.generate(
            inputs_embeds=inputs,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=int(bounds.max()) + 1, do_sample=False, eos_token_id=STOP, pad_token_id=0
            ),
            logits_processor=LogitsProcessorList([ExactLength(bounds.to(inputs.device))]),
        )
        assert output.shape[1] == int(bounds.max()) + 1
        return int(bounds.sum())

    def _encode(self, examples: Sequence[Example]) -> Sequence[Tensor]:
        speech, counts = self.model.embed_speech(
            collate_speech(examples).to(self.model.causal_lm.device), self.chunk_frames
        )
        return speech.split(counts)


class GenerateAsPeers(Generate):
    """WhisperEncoder with PEFT's LoRA over 30 s, whatever the utterance's length."""

    def _encode(self, examples: Sequence[Example]) -> Sequence[Tensor]:
        peers: Peers = self.model
        mel = torch.stack([functional.pad(e.mel, (0, 0, 0, WINDOW_FRAMES - len(e.mel))) for e in examples])
        frames = peers.whisper(mel.transpose(1, 2).to(peers.llm.device, peers.llm.dtype)).last_hidden_state
        speech = (peers.projector(one, [len(one)])[0] for one in frames)
        return [part[: example.speech_positions] for part, example in zip(speech, examples, strict=True)]


class ExactLength(LogitsProcessor):
    """The end token where the reference ends, and nowhere else."""

    def __init__(self, bounds: Tensor):
        self.bounds = bounds

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = (input_ids.shape[1] >= self.bounds)[:, None]
        stops = torch.arange(scores.shape[1], device=scores.device) == STOP
        return scores.masked_fill(over ^ stops, -torch.inf)


def _batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def draw(options: argparse.Namespace) -> list[Example]:
    """Utterances without transcripts, by language, then by length, as stage 7 has them."""
    packs = draw_packs(SIZES[options.size], options.utterances)
    languages = CODES[: options.languages]
    drawn = [replace(pack[0], transcript=(), language=languages[n % len(languages)]) for n, pack in enumerate(packs)]
    return sorted(drawn, key=lambda example: (example.language, example.num_samples))


def tokenizer_of(size: Size) -> PreTrainedTokenizerFast:
    """A word for each id; id 1 is the end token."""
    words = {("<|im_end|>" if number == STOP else f"w{number}"): number for number in range(size.vocabulary)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words)))


def contestants(options: argparse.Namespace, ours: SpeechLLM) -> list:
    config = DecodeConfig(
        batch_size=options.rows, batch_positions=options.positions, tokens_per_s=TOKENS_PER_S, tokens_floor=0
    )
    chunk_frames = CHUNK_FRAMES[options.regime]
    size = SIZES[options.size]
    chosen = [Ours(Decoder(ours, tokenizer_of(size), config, chunk_frames), options.encoder_batch)]
    if not options.peer_batches:
        return chosen
    with torch.device(options.device):
        backbones = [part.to(getattr(torch, options.dtype)) for part in (size.whisper(), size.qwen3())]
    peers = Peers.on(*backbones, "sft", ours, packs=(), batch_size=0)
    peers.causal_lm = peers.llm.get_base_model()
    for part in (peers.whisper, peers.llm):
        part.eval()
    for batch_size in options.peer_batches:
        chosen.append(Generate(ours, config, chunk_frames, "our encoder, adapters unmerged", batch_size))
        chosen.append(GenerateAsPeers(peers, config, None, "Whisper's encoder over 30 s with PEFT", batch_size))
    return chosen


def measure(options: argparse.Namespace, budget: Budget, parts_left: int) -> str:
    ours = build(options).eval()
    examples = draw(options)
    ways = contestants(options, ours)
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    tokens = set()
    for measured in budget.rounds(options.warmup, options.rounds, parts_left):
        for way in ways:
            if options.device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            tokens.add(way.run(examples))
            if options.device == "cuda":
                torch.cuda.synchronize()
            if measured:
                seconds[way.name].append(time.perf_counter() - start)
                log(f"{way.name}: {seconds[way.name][-1]:.2f} s")
    (total,) = tokens  # the same number on all sides
    audio_s = sum(example.num_samples for example in examples) / 16_000
    rows = []
    for way in ways:
        mine = statistics.median(seconds[way.name])
        ratio = statistics.median(b / a for a, b in zip(seconds[ways[0].name], seconds[way.name], strict=True))
        rows.append([way.name, f"{mine:.2f}", f"{audio_s / mine:,.1f}", f"{ratio:.2f}"])
    made = rounds_note(len(seconds[ways[0].name]), options.rounds)
    return (
        f"{options.regime}, {made}: {len(examples)} utterances in {options.languages} languages, "
        f"{audio_s:.0f} s of speech, {total} tokens.\n\n" + table(["way", "s", "RTFx", "times ours"], rows)
    )


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--size", choices=SIZES, default="mini", help="of both backbones")
    options.add_argument(
        "--regime", choices=REGIMES, nargs="*", default=["chunked"], help="how the encoder sees speech"
    )
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    options.add_argument("--utterances", type=int, default=64, help="to decode")
    options.add_argument("--languages", type=int, default=4, help="that they are in")
    options.add_argument("--rows", type=int, default=32, help="utterances that our search has at a time")
    options.add_argument("--positions", type=int, default=10**9, help="rows times the longest of them, at most")
    options.add_argument("--encoder_batch", type=int, default=16, help="utterances that our encoder takes at a time")
    options.add_argument("--peer_batches", type=int, nargs="*", default=[16, 32], help="batch sizes of the peers")
    options.add_argument("--rounds", type=int, default=3, help="measured")
    options.add_argument("--warmup", type=int, default=1, help="rounds before")
    options.add_argument("--seconds", type=float, default=0.0, help="fewer rounds after so long; 0: no limit")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch on the CPU")
    options.add_argument("--results", type=Path, default=RESULTS, help="the page to write a section of")
    return run_step(_run, options.parse_args(argv), "benchmarks.decode")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    options.phase, options.compile, options.checkpointing = "sft", False, False
    size = SIZES[options.size]
    (width, layers, *_), (llm_width, llm_layers, *_) = size.encoder, size.llm
    parts = [
        f"Whisper encoder {width} x {layers} with zipper_soft, Qwen3 {llm_width} x {llm_layers}, vocabulary "
        f"{size.vocabulary:,}, LoRA of rank {size.rank} on it, random weights; features ready, {options.dtype}, "
        f"{options.threads} threads."
    ]
    budget = Budget(options.seconds)
    for number, regime in enumerate(options.regime):
        chosen = argparse.Namespace(**{**vars(options), "regime": regime})
        parts.append(measure(chosen, budget, len(options.regime) - number))
        alone = "" if options.peer_batches else " without peers"
        title = f"Decoding{alone}, {options.size}, {options.device}, {options.dtype}"
        write_section(title, "\n\n".join(parts), options.results)


if __name__ == "__main__":
    sys.exit(main())
