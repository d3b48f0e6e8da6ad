"""Backbones with a few thousand parameters, written as stage 0 writes them, and utterances of noise.

Output: real Whisper, Qwen3 and tokenizer directories, SpeechLLM, examples. Weights are larger than transformers'
initial ones and no bias is zero; otherwise, errors could be smaller than the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from zipperasr.audio.frontend import Frontend
from zipperasr.audio.log_mel import log_mel
from zipperasr.audio.segments import mel_frames
from zipperasr.batching.batch import Example
from zipperasr.languages import LanguageTable
from zipperasr.model.build import add_adapters, build_model, set_trainable
from zipperasr.model.model_config import EncoderLoraConfig, LoraConfig, ModelConfig
from zipperasr.model.prompt import prompt_ids, transcript_ids
from zipperasr.model.speech_llm import SpeechLLM

MEL_BINS = 8
FRONTEND = Frontend(MEL_BINS)
D_ENCODER = 16
CODES = ("de", "es", "ja")
TABLE_PATH = Path(__file__).resolve().parents[2] / "egs2" / "zipper12" / "asr1" / "conf" / "languages.tsv"


def table() -> LanguageTable:
    """The languages of the recipe."""
    return LanguageTable.load(TABLE_PATH)


def byte_tokenizer(specials: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte and the special tokens: it supports every script without training."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=specials[0], eos_token=specials[-1])


def llm_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def whisper_tokenizer() -> PreTrainedTokenizerFast:
    languages = [f"<|{language.whisper_token}|>" for language in table()]
    tokenizer = byte_tokenizer(["<|startoftranscript|>", *languages, "<|endoftext|>"])
    tokenizer.unk_token = "<|endoftext|>"
    return tokenizer


def write_backbones(directory: Path, seed: int = 0) -> None:
    """Write <directory>/whisper and <directory>/llm with save_pretrained."""
    torch.manual_seed(seed)
    tokenizer = whisper_tokenizer()
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer), num_mel_bins=MEL_BINS, d_model=D_ENCODER, encoder_layers=3, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
            decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"), init_std=0.2,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    shake_vectors(whisper)
    whisper.save_pretrained(directory / "whisper")
    tokenizer.save_pretrained(directory / "whisper")
    tokenizer = llm_tokenizer()
    llm = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, head_dim=8,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id, max_position_embeddings=4096,
        )
    )  # fmt: skip
    shake_vectors(llm)
    llm.save_pretrained(directory / "llm")
    tokenizer.save_pretrained(directory / "llm")


@torch.no_grad()
def shake_vectors(module: nn.Module) -> None:
    """Change biases from zero and gains from one."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.2)


def model_config(backbones: Path, **changes) -> ModelConfig:
    """The configuration of the tiny model."""
    settings = {
        "whisper": str(backbones / "whisper"),
        "llm": str(backbones / "llm"),
        "mel_bins": MEL_BINS,
        "encoder_lora": EncoderLoraConfig(rank=4, alpha=8.0),
        "llm_lora": LoraConfig(rank=4, alpha=8.0),
    }
    return ModelConfig(**{**settings, **changes})


def lid_embeddings() -> torch.Tensor:
    return torch.randn(len(CODES), 10, generator=torch.Generator().manual_seed(5))


def align_model(config: ModelConfig, seed: int = 1) -> SpeechLLM:
    """The model of an alignment, in which no adapter factor is zero."""
    torch.manual_seed(seed)
    model = build_model(config)
    set_trainable(model, "align")
    shake_adapters(model)
    return model.eval()


def sft_model(config: ModelConfig, variant: str = "zipper_soft", seed: int = 1) -> SpeechLLM:
    """The model of an adaptation, in which no adapter factor is zero."""
    model = align_model(config, seed)
    add_adapters(model, config, variant, CODES, lid_embeddings())
    set_trainable(model, "sft")
    shake_adapters(model)
    return model.eval()


@torch.no_grad()
def shake_adapters(model: SpeechLLM) -> None:
    """Set every LoRA factor and the router to non-zero values; with B = 0, adapters would have no effect."""
    for name, parameter in model.named_parameters():
        if "lora_" in name or name.rpartition(".")[2] in ("a", "b_shared", "a_specific", "b_specific"):
            parameter.normal_(std=0.2)
        elif name.startswith("adapters.router"):
            parameter.normal_()


def noise(num_samples: int, seed: int) -> torch.Tensor:
    """16 kHz noise with a modulated level, so that no two excerpts are alike."""
    audio = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))
    return audio * torch.linspace(0.01, 0.3, num_samples)


def random_mel(num_frames: int, seed: int = 0) -> torch.Tensor:
    """Random features (num_frames, MEL_BINS)."""
    return torch.randn(num_frames, MEL_BINS, generator=torch.Generator().manual_seed(seed))


def example(utt_id: str, language: str, num_samples: int, text: str, seed: int = 0) -> Example:
    """An utterance of noise with its prompt and transcript."""
    tokenizer = llm_tokenizer()
    mel = log_mel(noise(num_samples, seed), MEL_BINS)
    assert len(mel) == mel_frames(num_samples)
    prompt = prompt_ids(tokenizer, table()[language])[:12]  # the prompts have up to 90 bytes; this keeps rows short
    return Example(utt_id, language, mel, num_samples, prompt, transcript_ids(tokenizer, text))


def two_packs() -> list[list[Example]]:
    """Five utterances of different lengths in two packs: German and Japanese."""
    german = [
        example("a", "de", 16_000, "ein Wort", 1),
        example("b", "de", 5_120, "zwei!", 2),
        example("c", "de", 23_777, "drei Worte hier", 3),
    ]
    japanese = [example("d", "ja", 9_999, "一つ", 4), example("e", "ja", 33_000, "二", 5)]
    return [german, japanese]
