"""Build the tokenizers of openai/whisper-large-v3 and Qwen/Qwen3-1.7B without downloading the models.

In: the BPE ranks in the packages openai-whisper and dashscope (tools/install_vocabularies.sh). Out: a directory for
AutoTokenizer with tokenizer.json, tokenizer_config.json and generation_config.json as published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from zipperasr.atomic import atomic_files
from zipperasr.model.bpe_ranks import QWEN_RANKS, WHISPER_RANKS, bpe_model, read_ranks

WHISPER_LANGUAGES = tuple(f"<|{code}|>" for code in LANGUAGES)  # in the order of their ids
WHISPER_SPECIAL = (
    *("<|endoftext|>", "<|startoftranscript|>"),
    *WHISPER_LANGUAGES,
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)  # ids from 50257
WHISPER_TIMESTAMPS = tuple(f"<|{0.02 * step:.2f}|>" for step in range(1501))
# fmt: off
QWEN_SPECIAL = (  # ids from 151643
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)
QWEN_MARKUP = (  # added tokens that are not special: `skip_special_tokens` keeps them
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)
WHISPER_NON_SPEECH = (  # brackets, dashes, notes and the like
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873,
    893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585, 6647,
    7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553, 16604, 18362,
    18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863, 47425, 49870,
    50254,
)
WHISPER_ALIGNMENT_HEADS = (
    (7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6),
)
# fmt: on


def write_whisper_tokenizer(out: Path) -> None:
    """Write large-v3's tokenizer and generation settings to `out`; other files in it are kept.

    Raises FileNotFoundError if openai-whisper is not installed, ValueError if its ranks are not large-v3's.
    """
    ranks = read_ranks(WHISPER_RANKS)
    added = [_added_token(text, special=True, normalized=False) for text in WHISPER_SPECIAL]
    added += [_added_token(text, special=False, normalized=True) for text in WHISPER_TIMESTAMPS]
    ids = {token["content"]: len(ranks) + number for number, token in enumerate(added)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token["content"]], **token} for token in added],
        "normalizer": None,
        "pre_tokenizer": _byte_level(add_prefix_space=False, trim_offsets=True, use_regex=True),
        "post_processor": _whisper_template(ids),
        "decoder": _byte_level(add_prefix_space=True, trim_offsets=True, use_regex=True),
        "model": bpe_model(ranks, merge=" ".join),
    }
    settings = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "model_max_length": 448,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": True,
        "errors": "replace",
        "return_attention_mask": False,
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>"),
    }
    _write(out, tokenizer, settings, _whisper_generation(ids))


def write_qwen3_tokenizer(out: Path) -> None:
    """Write Qwen3-1.7B's tokenizer, without chat template, and generation settings to `out`; other files are kept.

    Raises FileNotFoundError if dashscope is not installed, ValueError if its ranks are not Qwen3's.
    """
    ranks = read_ranks(QWEN_RANKS)
    added = [_added_token(text, special=True, normalized=False) for text in QWEN_SPECIAL]
    added += [_added_token(text, special=False, normalized=False) for text in QWEN_MARKUP]
    ids = {token["content"]: len(ranks) + number for number, token in enumerate(added)}
    as_is = _byte_level(add_prefix_space=False, trim_offsets=False, use_regex=False)
    words = {"type": "Split", "pattern": {"Regex": PRETOKENIZE_REGEX}, "behavior": "Isolated", "invert": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token["content"]], **token} for token in added],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, as_is]},
        "post_processor": as_is,
        "decoder": as_is,
        "model": bpe_model(ranks, merge=list, ignore_merges=False),
    }
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": 131_072,
        "add_prefix_space": False,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "split_special_tokens": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
    }
    end, chat_end = ids["<|endoftext|>"], ids["<|im_end|>"]
    sampling = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    generation = {"bos_token_id": end, "eos_token_id": [chat_end, end], "pad_token_id": end, **sampling}
    _write(out, tokenizer, settings, generation)


def _byte_level(**settings: bool) -> dict:
    return {"type": "ByteLevel", **settings}


def _added_token(text: str, *, special: bool, normalized: bool) -> dict:
    where = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    return {"content": text, **where, "normalized": normalized, "special": special}


def _whisper_template(ids: Mapping[str, int]) -> dict:
    """`<|startoftranscript|><|notimestamps|>` before a text, `<|endoftext|>` after it."""
    start, no_timestamps, end = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"

    def special(token: str) -> dict:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name: str, type_id: int) -> dict:
        return {"Sequence": {"id": name, "type_id": type_id}}

    before, after = [special(start), special(no_timestamps)], [special(end)]
    return {
        "type": "TemplateProcessing",
        "single": [*before, sequence("A", 0), *after],
        "pair": [*before, sequence("A", 0), sequence("B", 1), *after],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (end, no_timestamps, start)
        },
    }


def _whisper_generation(ids: Mapping[str, int]) -> dict:
    end = ids["<|endoftext|>"]
    tasks = ("transcribe", "translate")
    never = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
    return {
        "alignment_heads": WHISPER_ALIGNMENT_HEADS,
        "begin_suppress_tokens": [220, end],  # a space, and the end of an empty text
        "bos_token_id": end,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": end,
        "is_multilingual": True,
        "lang_to_id": {token: ids[token] for token in sorted(WHISPER_LANGUAGES)},
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "pad_token_id": end,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": [*WHISPER_NON_SPEECH, *(ids[f"<|{name}|>"] for name in never)],
        "task_to_id": {task: ids[f"<|{task}|>"] for task in tasks},
    }


def _write(out: Path, tokenizer: dict, settings: dict, generation: dict) -> None:
    """Write the three files. settings: tokenizer_config.json without the added tokens, which are repeated in it."""
    added = tokenizer["added_tokens"]
    listed = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added}
    special = [token["content"] for token in added if token["special"]]
    settings = {**settings, "additional_special_tokens": special, "added_tokens_decoder": listed}
    files = {"tokenizer": tokenizer, "tokenizer_config": settings, "generation_config": generation}
    with atomic_files(out) as temporary:
        for name, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (temporary / f"{name}.json").write_text(text, encoding="utf-8")
