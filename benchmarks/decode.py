"""Greedy decoding compared with transformers' `generate`, behind our encoder and behind Whisper's with PEFT.

Output: a table in RESULTS.md with the inverse real-time factor RTFx (seconds of speech per second). Utterances of 10
to 20 s, random weights. All methods generate exactly as many tokens as the reference has, and alternate in each round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from budget import Budget, rounds_note
from contestants import WINDOW_FRAMES, Peers
from record import write_section
from shared_options import add_device, add_results, add_rounds
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from torch.nn import functional
from train_step import CHUNK_FRAMES, CODES, SIZES, TOKENS_PER_S, Size, build, draw_packs
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast

from zipperasr.audio.segments import REGIMES
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.cli import log, parser, run_step
from zipperasr.decode.beam import after_prompts, left_padded, max_new_tokens
from zipperasr.decode.decode_config import QUANTIZATIONS, DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.markdown import table
from zipperasr.model.speech_llm import SpeechLLM

STOP = 1  # end token in the backbones' configurations


@dataclass
class Ours:
    """Adapters and LoRA merged into the weights, static cache, continuous batching."""

    decoder: Decoder
    batch_size: int

    def __post_init__(self) -> None:
        config = self.decoder.config
        self.name = f"ours, batch size {config.batch_size}" + (", int8" if config.quantize == "int8" else "")
        self.name += ", CUDA graphs" if config.cuda_graphs else ""
        self.decoder.stops = ()  # the length of the reference ends an utterance, not the model

    def run(self, examples: Sequence[Example]) -> int:
        return sum(len(found.tokens) for found in self.decoder.run(_batches(examples, self.batch_size)))


@dataclass
class Generate:
    """transformers' `generate` with unmerged LoRA, in batches of utterances of similar length."""

    model: nn.Module  # with embed_speech, llm, causal_lm
    config: DecodeConfig
    chunk_frames: int | None
    encoder: str
    batch_size: int

    def __post_init__(self) -> None:
        self.name = f"{self.encoder}, transformers' generate, batch size {self.batch_size}"

    @torch.inference_mode()
    def run(self, examples: Sequence[Example]) -> int:
        return sum(self._batch(batch) for batch in _batches(examples, self.batch_size))

    def _batch(self, examples: Sequence[Example]) -> int:
        bounds = torch.tensor([max_new_tokens(example.num_samples, self.config) for example in examples])
        inputs, mask = left_padded(after_prompts(self.model, examples, self._encode(examples)))
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
    """The same behind WhisperEncoder with PEFT's LoRA, which always encodes 30 s."""

    def _encode(self, examples: Sequence[Example]) -> Sequence[Tensor]:
        peers: Peers = self.model
        mel = torch.stack([functional.pad(e.mel, (0, 0, 0, WINDOW_FRAMES - len(e.mel))) for e in examples])
        frames = peers.whisper(mel.transpose(1, 2).to(peers.llm.device, peers.llm.dtype)).last_hidden_state
        speech = (peers.projector(one, [len(one)])[0] for one in frames)
        return [part[: example.speech_positions] for part, example in zip(speech, examples, strict=True)]


class ExactLength(LogitsProcessor):
    """Force the end token at the end of the reference, and forbid it before."""

    def __init__(self, bounds: Tensor):
        self.bounds = bounds

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = (input_ids.shape[1] >= self.bounds)[:, None]
        stops = torch.arange(scores.shape[1], device=scores.device) == STOP
        return scores.masked_fill(over ^ stops, -torch.inf)


def _batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def draw(options: argparse.Namespace) -> list[Example]:
    """Utterances without transcripts, sorted by language and length as in stage 7."""
    packs = draw_packs(SIZES[options.size], options.utterances)
    languages = CODES[: options.languages]
    drawn = [replace(pack[0], transcript=(), language=languages[n % len(languages)]) for n, pack in enumerate(packs)]
    return sorted(drawn, key=lambda example: (example.language, example.num_samples))


def tokenizer_of(size: Size) -> PreTrainedTokenizerFast:
    """A tokenizer with one word per id; id 1 is the end token."""
    words = {("<|im_end|>" if number == STOP else f"w{number}"): number for number in range(size.vocabulary)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words)))


def contestants(options: argparse.Namespace, ours: SpeechLLM) -> list:
    config = DecodeConfig(
        batch_size=options.rows, batch_positions=options.positions, tokens_per_s=TOKENS_PER_S, tokens_floor=0
    )
    chunk_frames = CHUNK_FRAMES[options.regime]
    size = SIZES[options.size]
    settings = [replace(config, quantize=quantize) for quantize in options.quantize]
    settings += [replace(config, cuda_graphs=True)] if options.cuda_graphs else []
    chosen: list = [
        Ours(Decoder(ours, tokenizer_of(size), one, chunk_frames), options.encoder_batch) for one in settings
    ]
    if not options.peer_batches:
        return chosen
    with torch.device(options.device):
        backbones = [part.to(getattr(torch, options.dtype)) for part in (size.whisper(), size.qwen3())]
    peers = Peers.on(*backbones, "sft", ours, packs=(), batch_size=0)
    peers.causal_lm = peers.llm.get_base_model()
    for part in (peers.whisper, peers.llm):
        part.eval()
    for batch_size in options.peer_batches:
        chosen.append(Generate(ours, config, chunk_frames, "our encoder with unmerged adapters", batch_size))
        chosen.append(GenerateAsPeers(peers, config, None, "Whisper's 30 s encoder with PEFT", batch_size))
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
    (total,) = tokens  # the same number for all methods
    audio_s = sum(example.num_samples for example in examples) / 16_000
    rows = []
    for way in ways:
        mine = statistics.median(seconds[way.name])
        ratio = statistics.median(b / a for a, b in zip(seconds[ways[0].name], seconds[way.name], strict=True))
        rows.append([way.name, f"{mine:.2f}", f"{audio_s / mine:,.1f}", f"{ratio:.2f}"])
    made = rounds_note(len(seconds[ways[0].name]), options.rounds)
    return (
        f"{options.regime}, {made}: {len(examples)} utterances in {options.languages} languages, "
        f"{audio_s:.0f} s of speech, {total} tokens.\n\n"
        + table(["method", "s", "RTFx", "time relative to ours"], rows)
    )


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--size", choices=SIZES, default="mini", help="size of the backbones")
    options.add_argument("--regime", choices=REGIMES, nargs="*", default=["chunked"], help="encoder context")
    options.add_argument("--utterances", type=int, default=64, help="number of utterances")
    options.add_argument("--languages", type=int, default=4, help="number of languages")
    options.add_argument("--rows", type=int, default=32, help="batch size of our search")
    options.add_argument("--positions", type=int, default=10**9, help="batch size times longest sequence, at most")
    options.add_argument("--encoder_batch", type=int, default=16, help="batch size of our encoder")
    options.add_argument("--peer_batches", type=int, nargs="*", default=[16, 32], help="batch sizes of the peers")
    options.add_argument("--quantize", choices=QUANTIZATIONS, nargs="+", default=["none"], help="of our search's LLM")
    options.add_argument("--cuda_graphs", action="store_true", help="measure our search with CUDA graphs as well")
    add_rounds(options, rounds=3, warmup=1)
    add_device(options)
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.decode")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    options.phase, options.compile, options.checkpointing = "sft", False, False
    size = SIZES[options.size]
    (width, layers, *_), (llm_width, llm_layers, *_) = size.encoder, size.llm
    parts = [
        f"Whisper encoder {width} x {layers} with zipper_soft, Qwen3 {llm_width} x {llm_layers}, vocabulary "
        f"{size.vocabulary:,}, LoRA of rank {size.rank}, random weights. Feature extraction is not timed. "
        f"{options.dtype}, {options.threads} threads."
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
