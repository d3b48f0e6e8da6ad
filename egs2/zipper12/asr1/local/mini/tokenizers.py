"""Tokenizers of the mini backbones: SentencePiece for the LLM, Whisper's byte-level BPE for the encoder's model.

In: texts by language. Out: tokenizers that transformers' AutoTokenizer loads from a directory.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, WhisperTokenizerFast

_TEXT_SHARE, _SEED_REPEATS = 20, 20_000  # one text in twenty, so that words of the seed texts are merged first
LLM_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def train_llm_tokenizer(
    texts: Iterable[str], pieces: int, seed_texts: Iterable[str], letters: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    """A SentencePiece BPE model with byte fallback, as a fast tokenizer.

    seed_texts (the prompts) are repeated so that each of their words becomes one piece: the small LLM copies letters
    but does not learn to join them. letters: additional characters of the vocabulary.
    """
    texts = list(texts)
    characters = " ".join(sorted(set(letters).union(*texts)))
    corpus = [characters, *texts[::_TEXT_SHARE], *(text for text in seed_texts for _ in range(_SEED_REPEATS))]
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=buffer,
        model_type="bpe",
        vocab_size=pieces,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        unk_id=0,
        num_threads=1,
        minloglevel=1,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    return _to_fast(processor)


def _to_fast(processor: sentencepiece.SentencePieceProcessor) -> PreTrainedTokenizerFast:
    """Convert to the `tokenizers` library: BPE merges ranked by SentencePiece scores."""
    vocabulary = {processor.id_to_piece(index): index for index in range(len(processor))}
    ranked = []
    for piece, index in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary and not processor.is_byte(index):
                ranked.append((index, vocabulary[left], vocabulary[right], left, right))
    merges = [(left, right) for *_, left, right in sorted(ranked)]
    model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in LLM_SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )


def train_whisper_tokenizer(
    texts: Iterable[str], pieces: int, language_tokens: Iterable[str], directory: Path
) -> WhisperTokenizerFast:
    """Train a byte-level BPE tokenizer like Whisper's, with a small vocabulary and the recipe's language tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = tokenizer.model.save(str(directory))
    specials = ["<|startoftranscript|>", *(f"<|{token}|>" for token in language_tokens)]
    specials += ["<|translate|>", "<|transcribe|>", "<|notimestamps|>"]
    whisper = WhisperTokenizerFast(
        vocab=vocabulary,
        merges=merges,
        unk_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        add_prefix_space=False,
    )
    whisper.add_special_tokens({"additional_special_tokens": specials})
    return whisper
