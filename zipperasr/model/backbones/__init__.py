"""Pretrained encoders and LLMs by the `model_type` in their config.json. A new family is one file and one entry here.

Everything else in the package uses them through `SpeechEncoder` and `CausalLLM` (speech_encoder.py, causal_llm.py).
"""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from zipperasr.model.backbone_files import check_backbone, transformers_errors
from zipperasr.model.backbones.causal_llm import CausalLLM
from zipperasr.model.backbones.gemma3 import Gemma3
from zipperasr.model.backbones.llama import Llama
from zipperasr.model.backbones.mistral import Mistral
from zipperasr.model.backbones.qwen2 import Qwen2
from zipperasr.model.backbones.qwen3 import Qwen3
from zipperasr.model.backbones.speech_encoder import LanguageSource, SpeechEncoder
from zipperasr.model.backbones.w2v_bert import W2vBertSpeechEncoder
from zipperasr.model.backbones.whisper import WhisperSpeechEncoder
from zipperasr.model.backbones.whisper_languages import WhisperLanguages
from zipperasr.model.sizes import Sizes

ENCODERS: dict[str, type[SpeechEncoder]] = {"whisper": WhisperSpeechEncoder, "wav2vec2-bert": W2vBertSpeechEncoder}
LANGUAGE_SOURCES: dict[str, type[LanguageSource]] = {"whisper": WhisperLanguages}
LLMS: dict[str, type[CausalLLM]] = {
    "qwen3": Qwen3,
    "qwen2": Qwen2,
    "llama": Llama,
    "gemma3_text": Gemma3,
    "mistral": Mistral,
}


def find_encoder(path: str) -> tuple[type[SpeechEncoder], Sizes]:
    """The family of the encoder at `path`, and its sizes. path: local directory or hub id.

    Raises FileNotFoundError, OSError or ValueError if its family is unknown or a file is missing or damaged.
    """
    rules, sizes = check_backbone(path, [encoder.size_rules for encoder in ENCODERS.values()])
    return ENCODERS[rules.model_type], sizes


def has_languages(path: str) -> bool:
    """Whether the encoder at `path` provides language embeddings. Raises like `find_encoder`."""
    return find_encoder(path)[0].size_rules.model_type in LANGUAGE_SOURCES


def find_languages(path: str) -> type[LanguageSource]:
    """Language embeddings and detection of the encoder at `path`. Raises ValueError if its family has none."""
    model_type = find_encoder(path)[0].size_rules.model_type
    if model_type not in LANGUAGE_SOURCES:
        raise ValueError(
            f"{path}: no language embeddings for model_type {model_type}; set lid_whisper in model.yaml to a Whisper "
            "model, or use a LoRA variant without a router and give the language instead of detecting it"
        )
    return LANGUAGE_SOURCES[model_type]


def find_llm(path: str) -> tuple[type[CausalLLM], Sizes]:
    """The family of the LLM at `path`, and its sizes. Raises like `find_encoder`."""
    rules, sizes = check_backbone(path, [llm.size_rules for llm in LLMS.values()])
    return LLMS[rules.model_type], sizes


def llm_of(model: PreTrainedModel) -> type[CausalLLM]:
    """The family of a transformers model that is already loaded."""
    return LLMS[model.config.model_type]


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of the LLM at `path`. Raises like `find_encoder`."""
    find_llm(path)
    with transformers_errors(path):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
