"""Greedy search by vLLM, in place of greedy.py: paged attention, continuous batching, LLMs larger than one GPU.

In: a loaded model. Out: tokens of utterances. The LLM's LoRA is shared by all languages, so that one merged LLM serves
them all; vLLM gets it as a directory of transformers, and each utterance as embeddings of prompt and speech. The
encoder, with the adapters of the language, remains ours.
"""

from __future__ import annotations

import importlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from types import ModuleType

import torch

from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.greedy import Encoded
from zipperasr.model.speech_llm import SpeechLLM

UTTERANCES_AT_ONCE = 512  # given to vLLM; those for which it has no memory wait in it
NO_REPEAT = "zipperasr_no_repeat"  # among the arguments of a request: size of the n-grams that may not repeat
GPU_MEMORY = 0.7  # share of a GPU for vLLM; the encoder needs the rest
ENVIRONMENT = {  # of vLLM, unless it is set
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the scheduler in this process, which has nothing else to do meanwhile
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # other processes use the same cores
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",  # it warns of settings that are chosen on purpose
}
_END = object()  # in place of an utterance
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class VllmSearch:
    """The LLM of a model in vLLM.

    Args:
        model: in main memory. Its LLM is merged and then reduced to the token embeddings.
        max_positions: prompt, speech and transcript of the longest utterance.

    Raises ValueError if vLLM is not installed.
    """

    def __init__(self, model: SpeechLLM, config: DecodeConfig, max_positions: int):
        vllm = import_vllm()
        if config.retry_loops:  # its newer model runner does not take vllm_no_repeat.py
            os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
        self._params, self._final = vllm.SamplingParams, vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        self._numbers = count()
        with tempfile.TemporaryDirectory(prefix="zipperasr_llm_") as directory:
            _write_llm(model, directory, max_positions)
            self._llm = vllm.LLM(
                model=directory,
                dtype=_DTYPES[config.precision],
                enable_prompt_embeds=True,
                skip_tokenizer_init=True,
                enable_prefix_caching=False,
                enforce_eager=not torch.cuda.is_available(),
                max_model_len=max_positions,
                gpu_memory_utilization=GPU_MEMORY,
                tensor_parallel_size=config.tensor_parallel,
                distributed_executor_backend="uni" if config.tensor_parallel == 1 else "mp",
                disable_log_stats=True,
                logits_processors=["zipperasr.decode.vllm_no_repeat:NoRepeat"] if config.retry_loops else None,
                seed=0,
            )

    def run(
        self,
        utterances: Iterable[Encoded | None],
        check: Callable[[], None] = lambda: None,
        is_dropped: Callable[[Encoded], bool] = lambda _: False,
        *,
        stops: Sequence[int],
        again: Callable[[Encoded], bool] = lambda _: False,
    ) -> Iterator[Encoded]:
        """Yield utterances with their tokens, in the order in which they end; see `GreedySearch`.

        check and is_dropped are called before each step of vLLM, in which every running utterance gets a token. However
        the search ends, vLLM has no utterances left, so that another one can follow.
        """
        engine, arriving = self._llm.llm_engine, iter(utterances)
        active: dict[str, Encoded] = {}  # by vLLM's request
        has_ended = False
        try:
            while active or not has_ended:
                check()
                dropped = [request for request, utterance in active.items() if is_dropped(utterance)]
                engine.abort_request(dropped)
                for request in dropped:
                    del active[request]
                while not has_ended and len(active) < UTTERANCES_AT_ONCE:
                    utterance = next(arriving, _END)
                    if utterance is None:
                        break
                    if utterance is _END:
                        has_ended = True
                    else:
                        active[self._add(utterance, stops)] = utterance
                for answer in engine.step() if active else ():
                    utterance = active.pop(answer.request_id)
                    _keep(answer.outputs[0], utterance, stops)
                    if not utterance.undefined and again(utterance):
                        active[self._add(utterance, stops)] = utterance
                    else:
                        yield utterance
        finally:
            engine.abort_request(list(active))

    def close(self) -> None:
        """Free vLLM's memory, so that another model can be loaded."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cleanup_dist_env_and_memory()

    def _add(self, utterance: Encoded, stops: Sequence[int]) -> str:
        """Give vLLM an utterance and return the id of its request."""
        params = self._params(
            temperature=0.0,
            max_tokens=utterance.max_tokens,
            stop_token_ids=list(stops),
            ignore_eos=True,  # the end ids are among `stops`
            detokenize=False,
            logprobs=0,  # of the chosen tokens only
            flat_logprobs=True,
            output_kind=self._final,
            extra_args={NO_REPEAT: utterance.no_repeat} if utterance.no_repeat else None,
        )
        request = str(next(self._numbers))
        self._llm.llm_engine.add_request(request, {"prompt_embeds": utterance.embeddings.cpu()}, params)
        return request


def _keep(found, utterance: Encoded, stops: Sequence[int]) -> None:
    """Copy what vLLM has found for an utterance."""
    utterance.tokens, utterance.logprobs = list(found.token_ids), [min(one, 0.0) for one in found.logprobs.logprobs]
    defined = next((place for place, one in enumerate(utterance.logprobs) if not math.isfinite(one)), None)
    if defined is not None:
        utterance.undefined = True
        del utterance.tokens[defined:], utterance.logprobs[defined:]
    elif utterance.tokens and utterance.tokens[-1] in stops:
        utterance.tokens.pop()
        utterance.end_logprob, utterance.ended = utterance.logprobs.pop(), True


def import_vllm() -> ModuleType:
    """Import vLLM with the settings of `ENVIRONMENT`. Raises ValueError if it is not installed."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise ValueError(
            f"engine: vllm: {error}; create its environment with tools/install_vllm.sh, then run "
            "VENV=.venv-vllm ./run.sh --stage 7, or .venv-vllm/bin/zipperasr"
        ) from error


def _write_llm(model: SpeechLLM, directory: str, max_positions: int) -> None:
    """Write the merged LLM for transformers, and free its layers."""
    model.llm = model.llm.merge_and_unload() if hasattr(model.llm, "merge_and_unload") else model.llm
    config = model.causal_lm.config
    config.max_position_embeddings = max(config.max_position_embeddings, max_positions)  # vLLM refuses longer inputs
    model.causal_lm.save_pretrained(directory)
    for layer in model.llm_family.layers(model.causal_lm):
        for parameter in layer.parameters():
            parameter.data = parameter.data.new_empty(0)
