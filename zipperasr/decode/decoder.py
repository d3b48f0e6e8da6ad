"""Utterances to texts: encode ahead, with the adapters merged, and search.

In: batches of examples without transcripts. Out: one `Decoded` each, as they are ready. Greedy search is ours or
vLLM's; beam search is transformers' generate, batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from zipperasr.align.frames import encoder_frames
from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.decode.alternatives import Alternatives
from zipperasr.decode.beam import beam_search, max_new_tokens, stop_ids
from zipperasr.decode.chunk_cache import embed_speech
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.greedy import Encoded, GreedySearch
from zipperasr.decode.hooks import Hooks
from zipperasr.decode.lookahead import ahead
from zipperasr.decode.loops import LoopGuard
from zipperasr.decode.phrases import PhraseTrie, PhraseWalk
from zipperasr.decode.spotted import Spotter
from zipperasr.decode.vllm_search import VllmSearch
from zipperasr.device import to_device
from zipperasr.lora.merging import merged
from zipperasr.model.prompt import hypothesis_text
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.output_faults import is_chat_like

BATCHES_AHEAD = 2
ENCODED_AT_ONCE_S = 60.0  # on a CPU: 30 % faster than sixteen utterances of 15 s
NO_HOOKS = Hooks()
_END = object()
Item = TypeVar("Item")


@dataclass(frozen=True)
class Decoded:
    """The result for one utterance."""

    example: Example
    text: str
    tokens: tuple[int, ...]  # of greedy search
    note: str = ""  # remark on the result: cut off, a loop, ...
    retried: bool = False  # because of a loop
    avg_logprob: float | None = None  # of `tokens` and the end token, if any; None: the search does not report any
    logprobs: tuple[float, ...] = ()  # natural, of `tokens`
    frames: Tensor | None = field(default=None, repr=False)  # (frames, encoder width), see `Decoder.keeps_frames`
    alternatives: Alternatives = ()  # of beam search with nbest > 1; the first is `text`


class Decoder:
    """A model ready to decode any number of streams, one after the other.

    Args:
        chunk_frames: mel frames per chunk of the encoder; None: full context.
        vllm: the model's LLM in vLLM, for `engine: vllm`; None: greedy search is ours.
    """

    def __init__(
        self,
        model: SpeechLLM,
        tokenizer: PreTrainedTokenizerBase,
        config: DecodeConfig,
        chunk_frames: int | None,
        vllm: VllmSearch | None = None,
    ):
        self.model, self.tokenizer, self.config, self.chunk_frames = model, tokenizer, config, chunk_frames
        self.stops: Sequence[int] = stop_ids(model, tokenizer)  # empty: every utterance gets its maximum length
        self.keeps_frames = False  # of the encoder, in the results: word times need them
        if config.engine == "vllm" and vllm is None:
            raise ValueError("engine: vllm: the model's LLM is not in vLLM; open it with Transcriber.from_pretrained")
        self._loops = LoopGuard(self._text, config.retry_loops)
        self._vllm = vllm
        self._search: Generator[Decoded, None, None] | None = None  # of `run`, if it has not ended
        own = config.beam == 1 and vllm is None
        self._llm = None
        if own:
            self._llm = model.llm_family.incremental(model.causal_lm, config.quantize, config.cuda_graphs)
        if own and self._llm is None and config.fast_options:
            shown, off = config.fast_options[0]
            raise ValueError(f"{shown} needs an LLM with fast decoding; set {off}")

    @property
    def takes_phrases(self) -> bool:
        """Whether the search can prefer phrases."""
        return self._llm is not None

    @property
    def has_logprobs(self) -> bool:
        """Whether the search reports the log-probabilities of tokens."""
        return self._llm is not None or self._vllm is not None

    def run(self, batches: Iterable[Sequence[Example]], hooks: Hooks = NO_HOOKS) -> Iterator[Decoded]:
        """Decode every example of every batch; greedy search yields results as they end, not in order.

        Adapters stay merged between two results. So another call ends this one, whose next result is a RuntimeError.
        """
        if self._search is not None:
            self._search.close()  # its reader was interrupted, or is reading
        self._search = search = self._run(batches, hooks)
        try:
            for decoded in search:
                yield decoded
                if self._search is not search:
                    raise RuntimeError("ended by another call; read all results of a call before the next one")
        finally:
            search.close()
            if self._search is search:
                self._search = None

    def _run(self, batches: Iterable[Sequence[Example]], hooks: Hooks) -> Generator[Decoded, None, None]:
        if self._llm is None and self._vllm is None:
            yield from self._beam(batches, hooks)
            return
        device = self.model.causal_lm.device
        with ExitStack() as opened:  # closed from the inside, so that threads end and no adapters stay merged
            read = opened.enter_context(closing(ahead(batches, BATCHES_AHEAD)))
            stream = opened.enter_context(closing(self._encode(read, hooks)))
            if device.type == "cuda":
                stream = opened.enter_context(closing(ahead(_on_own_stream(stream, device), BATCHES_AHEAD)))
            yield from map(self._decoded, self._greedy()(chain.from_iterable(stream), hooks.check))

    def run_live(self, batches: Iterable[Sequence[Example] | None], hooks: Hooks) -> Generator[Decoded, None, None]:
        """Decode batches that arrive at any time; with greedy search, they are encoded in a thread beside it.

        batches: read in that thread; None means that there is none at present. It should come instead of a long wait,
            because the thread ends only between two items.
        """
        if self._llm is None and self._vllm is None:
            yield from self._beam(batches, hooks)
            return
        in_search = 0

        def arriving(encoded: Iterable[list[Encoded] | None]) -> Iterator[Encoded | None]:
            nonlocal in_search
            for rows in encoded:
                if rows is not None:
                    in_search += len(rows)
                    yield from rows
                elif in_search:
                    yield None

        def is_dropped(found: Encoded) -> bool:
            nonlocal in_search
            dropped = hooks.is_dropped(found.key)
            in_search -= dropped
            return dropped

        stream = (None if batch is None else self._encode_alone(batch, hooks) for batch in batches)
        device = self.model.causal_lm.device
        if device.type == "cuda":
            stream = _on_own_stream(stream, device)
        # closed even if the search fails, so that the thread ends
        with closing(ahead(stream, BATCHES_AHEAD, lambda: not in_search)) as encoded:
            for found in self._greedy()(arriving(encoded), hooks.check, is_dropped):
                in_search -= 1
                yield self._decoded(found)

    def _greedy(self) -> Callable[..., Iterator[Encoded]]:
        """`GreedySearch.run`, or that of vLLM."""
        if self._vllm is not None:
            return partial(self._vllm.run, stops=self.stops, again=self._again)
        bounds = (self.config.batch_size, self.config.batch_positions)
        return GreedySearch(self._llm, self.stops, *bounds, self._again).run

    def _decoded(self, found: Encoded) -> Decoded:
        tokens, note = self._loops.cut(found)
        text = self._text(tokens)
        if not note and (is_chat_like(text) or is_chat_like(self.tokenizer.decode(tokens))):  # may begin with <think>
            note = "reads like a chat reply, not like a transcript"
        logprobs = tuple(found.logprobs[: len(tokens)])
        return Decoded(
            found.key,
            text,
            tuple(tokens),
            note,
            retried=found.no_repeat > 0,
            avg_logprob=_average(logprobs, found.end_logprob),
            logprobs=logprobs,
            frames=found.frames,
        )

    def _again(self, found: Encoded) -> bool:
        """Prepare another search, without the loop that this one ended in or with a phrase; True if one is needed."""
        is_first = found.revision is None or not found.revision.has_begun
        if is_first and self._loops.again(found):
            return True
        return found.revision is not None and found.revision.again(found)

    def _text(self, tokens: Sequence[int]) -> str:
        return hypothesis_text(self.tokenizer, tokens)

    def _beam(self, batches: Iterable[Sequence[Example] | None], hooks: Hooks) -> Iterator[Decoded]:
        for batch in batches:
            hooks.check()
            examples = [example for example in batch or () if not hooks.is_dropped(example)]
            rows = self._encode_alone(examples, hooks) if examples else []
            if not rows:
                continue
            inputs, bounds = [row.embeddings for row in rows], [row.max_tokens for row in rows]
            found = beam_search(self.model, self.tokenizer, inputs, bounds, self.config)
            for example, row, one in zip(examples, rows, found, strict=True):
                yield Decoded(example, one.text, (), frames=row.frames, alternatives=one.alternatives)

    def _encode_alone(self, batch: Sequence[Example], hooks: Hooks) -> list[Encoded]:
        """Encode a batch; no adapters stay merged. If it failed, and others continue: []."""
        try:
            return list(chain.from_iterable(self._encode([batch], hooks)))
        except Exception as error:
            hooks.failed(batch, error)
            return []

    def _encode(self, batches: Iterable[Sequence[Example]], hooks: Hooks) -> Generator[list[Encoded], None, None]:
        """Yield batches, or parts of them. Those in one language after another have the adapters merged for it."""
        for language, same in groupby(batches, key=lambda batch: hooks.mixture(batch) or _only_language(batch)):
            with self._merged(language):
                for examples in chain.from_iterable(map(self._parts, same)):
                    rows = self._encode_batch(examples, hooks)
                    for row, example in zip(rows, examples, strict=True):
                        self._prefer(row, hooks.phrases(example) if self.takes_phrases else None)
                    hooks.encoded(examples)
                    yield rows

    def _prefer(self, row: Encoded, phrases: PhraseTrie | Spotter | None) -> None:
        if isinstance(phrases, PhraseTrie):
            row.walk = PhraseWalk(phrases, self.stops)
        elif phrases is not None and row.frames is not None:
            row.revision = phrases.revision(row.frames)
        if not self.keeps_frames:
            row.frames = None

    def _parts(self, batch: Sequence[Example]) -> Iterator[Sequence[Example]]:
        """Split a batch for the encoder: on a CPU into small parts, whose activations fit into its caches.

        Open segments of streams have no edge frames; those of a part agree.
        """
        most = ENCODED_AT_ONCE_S * SAMPLE_RATE if self.model.causal_lm.device.type == "cpu" else math.inf
        start, samples = 0, 0
        for place, example in enumerate(batch):
            if samples and (samples + example.num_samples > most or example.edge_frames != batch[start].edge_frames):
                yield batch[start:place]
                start, samples = place, 0
            samples += example.num_samples
        yield batch[start:]

    def _merged(self, language: str | Mapping[str, float] | None):
        if language is None or self.model.adapters is None:
            return nullcontext()
        return merged(self.model.adapters, language)

    def _encode_batch(self, examples: Sequence[Example], hooks: Hooks) -> list[Encoded]:
        model, device = self.model, self.model.causal_lm.device
        with torch.inference_mode(), encoder_frames(model) as frames:
            speech = collate_speech(examples, model.encoder.frontend).to(device)
            speech, counts = embed_speech(model, speech, self.chunk_frames, [hooks.cache(one) for one in examples])
            embed = self._llm.embed if self._llm is not None else model.causal_lm.get_input_embeddings()
            prompts = [embed(to_device(torch.tensor(example.prompt), device)) for example in examples]
            rows = [
                torch.cat([prompt, part.to(prompt.dtype)])
                for prompt, part in zip(prompts, speech.split(counts), strict=True)
            ]
        bounds = [max_new_tokens(example.num_samples, self.config) for example in examples]
        encoded = [Encoded(*one) for one in zip(examples, rows, bounds, strict=True)]
        for one, its_frames in zip(encoded, frames, strict=True):
            one.frames = its_frames
        return encoded


def _average(logprobs: Sequence[float], end_logprob: float | None) -> float | None:
    known = [*logprobs, *([] if end_logprob is None else [end_logprob])]
    return sum(known) / len(known) if known else None


def _only_language(examples: Sequence[Example]) -> str | None:
    languages = {example.language for example in examples}
    return languages.pop() if len(languages) == 1 else None


def _on_own_stream(items: Iterator[Item], device: torch.device) -> Iterator[Item]:
    """Run the iterator's kernels on a stream of their own; each item is complete when it is yielded."""
    stream = torch.cuda.Stream(device)
    while True:
        with torch.cuda.stream(stream):
            item = next(items, _END)
            stream.synchronize()
        if item is _END:
            return
        yield item
