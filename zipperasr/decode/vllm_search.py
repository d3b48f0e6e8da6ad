"""Greedy search by vLLM, in place of greedy.py: paged attention, continuous batching, LLMs larger than one GPU.

In: a loaded model. Out: tokens of utterances. The LLM's LoRA is shared by all languages, so that one merged LLM serves
them all; vLLM gets it as a directory of transformers, and each utterance as embeddings of prompt and speech. The
encoder, with the adapters of the language, remains ours.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch

from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.greedy import Encoded
from zipperasr.model.speech_llm import SpeechLLM

UTTERANCES_AT_ONCE = 512  # given to vLLM together; it batches them itself
GPU_MEMORY = 0.7  # share of a GPU for vLLM; the encoder needs the rest
ENVIRONMENT = {  # of vLLM, unless it is set
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the scheduler in this process, which has nothing else to do meanwhile
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # other processes use the same cores
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",  # it warns of settings that are chosen on purpose
}
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class VllmSearch:
    """The LLM of a model in vLLM.

    Args:
        model: in main memory. Its LLM is merged and then reduced to the token embeddings.
        max_positions: prompt, speech and transcript of the longest utterance.

    Raises ValueError if vLLM is not installed.
    """

    def __init__(self, model: SpeechLLM, config: DecodeConfig, max_positions: int):
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import vllm
        except ImportError as error:
            raise ValueError(
                f"engine: vllm: {error}; create its environment with tools/install_vllm.sh, then run "
                "VENV=.venv-vllm ./run.sh --stage 7"
            ) from error
        self._params = vllm.SamplingParams
        with tempfile.TemporaryDirectory(prefix="zipperasr_llm_") as directory:
            _write_llm(model, directory)
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
                seed=0,
            )

    def run(
        self, utterances: Iterable[Encoded], stops: Sequence[int], check: Callable[[], None] = lambda: None
    ) -> Iterator[Encoded]:
        """Yield utterances with their tokens, in blocks of `UTTERANCES_AT_ONCE`.

        stops: ids that end an utterance. check: called before each block; an exception from it ends the search.
        """
        arriving = iter(utterances)
        while block := list(islice(arriving, UTTERANCES_AT_ONCE)):
            check()
            prompts = [{"prompt_embeds": utterance.embeddings.cpu()} for utterance in block]
            params = [self._of(utterance, stops) for utterance in block]
            for utterance, answer in zip(block, self._llm.generate(prompts, params, use_tqdm=False), strict=True):
                utterance.tokens = list(answer.outputs[0].token_ids)
                if utterance.tokens and utterance.tokens[-1] in stops:
                    utterance.tokens.pop()
                    utterance.ended = True
                yield utterance

    def close(self) -> None:
        """Free vLLM's memory, so that another model can be loaded."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cleanup_dist_env_and_memory()

    def _of(self, utterance: Encoded, stops: Sequence[int]):
        return self._params(
            temperature=0.0,
            max_tokens=utterance.max_tokens,
            stop_token_ids=list(stops),
            ignore_eos=True,  # the end ids are among `stops`
            detokenize=False,
        )


def _write_llm(model: SpeechLLM, directory: str) -> None:
    """Write the merged LLM for transformers, and free its layers."""
    model.llm = model.llm.merge_and_unload() if hasattr(model.llm, "merge_and_unload") else model.llm
    model.causal_lm.save_pretrained(directory)
    for layer in model.llm_family.layers(model.causal_lm):
        for parameter in layer.parameters():
            parameter.data = parameter.data.new_empty(0)
