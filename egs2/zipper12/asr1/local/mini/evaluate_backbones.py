"""What the mini backbones can do, language by language, on texts and voices that they have not met.

In: the two backbones' directories. Out: a table, and a JSON file of the same figures.
LLM: nats a token of texts that it reads from phonemes, clean, blurred, and blurred and joined to 25 s with pauses.
Whisper: the phoneme error of a linear probe on the frozen encoder, which hears an utterance at once, in chunks, or
joined to others with pauses; and how often the decoder names the language.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen3ForCausalLM,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from local.mini import pretraining_data
from local.mini.hearing import Collate
from local.mini.plan import load_plan
from local.mini.pretrain_llm import LlmSize, summed_loss
from local.mini.pretrain_whisper import PretrainingModel, WhisperSize
from local.mini.pretraining_data import PretrainingUtterance, Pronounced
from local.mini.reading import Line, Reader
from local.mini.texts import Sentence, make_sentences
from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.languages import LanguageTable
from zipperasr.model.segments import segment_frames
from zipperasr.score.align import align_all

UNSEEN_SEED, PROBE_SEED = 99, 98
READ_TEXTS, HEARD_TEXTS, PROBE_TEXTS = 60, 30, 100  # of each language
READ_CONDITIONS, HEARD_CONDITIONS = ("clean", "blurred", "joined"), ("alone", "chunked", "joined")
CHUNK_S = 2.0
_BATCH = 20  # lines or utterances
_PROBE_EPOCHS, _PROBE_LR = 12, 1e-2

Figures = dict[str, dict[str, float]]  # what was measured -> language code -> figure


def unseen_sentences(codes: Sequence[str]) -> dict[str, list[Sentence]]:
    """Sentences of the pretraining patterns, which pretraining must keep out."""
    return {code: make_sentences(code, READ_TEXTS, UNSEEN_SEED, "pretrain") for code in codes}


def recipe_sentences(codes: Sequence[str], count: int) -> dict[str, list[Sentence]]:
    """Test sentences of the mini corpora: patterns that pretraining does not know."""
    chosen: dict[str, list[Sentence]] = {code: [] for code in codes}
    for part in load_plan()[2]:
        if part.kind == "test" and part.language in chosen:
            chosen[part.language] += part.sentences
    return {code: sentences[:count] for code, sentences in chosen.items()}


class ReadingTest:
    """Nats a token of an LLM that reads phonemes, by set of texts, condition and language."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, table: LanguageTable):
        self.tokenizer, self.table = tokenizer, table
        self.texts = {
            "unseen": pretraining_data.pronounce(unseen_sentences(table.codes)),
            "recipe": pretraining_data.pronounce(recipe_sentences(table.codes, READ_TEXTS)),
        }

    def __call__(self, model: Qwen3ForCausalLM) -> Figures:
        """For instance {"recipe clean": {"en": 0.21, ...}, ...}."""
        return {
            f"{name} {condition}": {code: round(self._nats(model, texts, code, condition), 3) for code in texts}
            for name, texts in self.texts.items()
            for condition in READ_CONDITIONS
        }

    @torch.no_grad()
    def _nats(self, model: Qwen3ForCausalLM, texts: dict[str, list[Pronounced]], code: str, condition: str) -> float:
        reader = Reader(texts, {}, self.tokenizer, self.table, LlmSize(), seed=0)
        lines = self._lines(reader, texts[code], code, condition)
        order = sorted(lines, key=lambda line: line.num_positions)
        total = 0.0
        for first in range(0, len(order), _BATCH):
            total += float(summed_loss(model, order[first : first + _BATCH], reader.size.noise, reader.rng))
        return total / sum(len(line.text) for line in lines)

    def _lines(self, reader: Reader, texts: list[Pronounced], code: str, condition: str) -> list[Line]:
        blur = 0.0 if condition == "clean" else 1.0
        if condition == "joined":
            return [reader.shown(code, texts, "phonemes", blur, reader.size.longest) for _ in range(len(texts) // 10)]
        # a text as written and the next one plain: so each form is in half of the lines
        chosen = [texts[2 * number + number % 2] for number in range(len(texts) // 2)]
        return [reader.shown(code, [text], "phonemes", blur, 0) for text in chosen]


class HearingTest:
    """Phoneme errors and language identification of a mini Whisper, on unheard texts in unheard voices."""

    def __init__(self, tokenizer: WhisperTokenizerFast, table: LanguageTable, mel_bins: int, nj: int):
        self.tokenizer, self.table, self.mel_bins, self.nj = tokenizer, table, mel_bins, nj
        spoken = recipe_sentences(table.codes, HEARD_TEXTS)
        heard = pretraining_data.speak_all(spoken, UNSEEN_SEED, mel_bins, nj, "test")
        self.utterances: dict[str, list[PretrainingUtterance]] = defaultdict(list)
        for utterance in heard:
            self.utterances[utterance.language].append(utterance)

    def __call__(self, whisper: WhisperForConditionalGeneration) -> Figures:
        """With a probe trained here, on other texts and voices than the test's."""
        counts = dict.fromkeys(self.table.codes, PROBE_TEXTS)
        sentences = {code: make_sentences(code, count, PROBE_SEED, "pretrain") for code, count in counts.items()}
        heard = pretraining_data.speak_all(sentences, PROBE_SEED, self.mel_bins, self.nj, "train")
        units = sorted({phoneme for utterance in heard for phoneme in utterance.phonemes})
        model = PretrainingModel(whisper.eval(), len(units))
        self._train_probe(model, heard, units)
        return self.in_training(model, units)

    def in_training(self, model: PretrainingModel, units: Sequence[str]) -> Figures:
        """With the CTC head that the encoder was trained with, which may spell `units` that are no phonemes."""
        figures = {"languages named": {code: self._named(model.whisper, code) for code in self.utterances}}
        if any(len(unit) > 1 for unit in units):  # phonemes
            for condition in HEARD_CONDITIONS:
                errors = {code: self._phoneme_error(model, units, code, condition) for code in self.utterances}
                figures[f"phoneme error {condition}"] = errors
        return figures

    @torch.no_grad()
    def _phoneme_error(self, model: PretrainingModel, units: Sequence[str], code: str, condition: str) -> float:
        """Errors per phoneme of the greedy CTC path."""
        collate = self._collate(units)
        pairs = []
        for group in _parts(self.utterances[code], _BATCH):
            batch = collate.joined(group) if condition == "joined" else collate(group)
            chunk_frames = segment_frames(CHUNK_S) if condition == "chunked" else None
            encoded, counts = model.encode(batch, chunk_frames)
            references = batch.units.split(batch.num_units.tolist())
            for row, count, reference in zip(model.ctc(encoded), counts, references, strict=True):
                best = row[:count].argmax(-1).unique_consecutive()
                pairs.append((reference.tolist(), best[best > 0].tolist()))
        errors = sum(len(operations) - operations.count("C") for operations in align_all(pairs))
        return round(errors / sum(len(reference) for reference, _ in pairs), 4)

    @torch.no_grad()
    def _named(self, whisper: WhisperForConditionalGeneration, code: str) -> float:
        """Share of the utterances whose language the decoder names, out of the table's."""
        tokens = [f"<|{language.whisper_token}|>" for language in self.table]
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        right = 0
        for utterance in self.utterances[code]:
            model = PretrainingModel(whisper, 1)
            hidden, _ = model.encoder(torch.from_numpy(utterance.mel).float(), [len(utterance.mel)])
            start = torch.tensor([[whisper.config.decoder_start_token_id]])
            decoded = whisper.model.decoder(input_ids=start, encoder_hidden_states=hidden[None])
            logits = whisper.proj_out(decoded.last_hidden_state)[0, 0, ids]
            right += self.table.codes[int(logits.argmax())] == code
        return round(right / len(self.utterances[code]), 4)

    def _train_probe(self, model: PretrainingModel, heard: list[PretrainingUtterance], units: Sequence[str]) -> None:
        """Fit model.ctc on the frozen encoder, which hears half of the groups in chunks."""
        torch.manual_seed(PROBE_SEED)
        collate, rng = self._collate(units), random.Random(PROBE_SEED)
        features: list[tuple[Tensor, list[int], Tensor, Tensor]] = []
        with torch.no_grad():
            for number, group in enumerate(_parts(sorted(heard, key=lambda item: len(item.mel)), _BATCH)):
                batch = collate(group)
                encoded, counts = model.encode(batch, segment_frames(CHUNK_S) if number % 2 else None)
                features.append((encoded, counts, batch.units, batch.num_units))
        optimiser = torch.optim.AdamW(model.ctc.parameters(), lr=_PROBE_LR)
        for epoch in range(_PROBE_EPOCHS):
            for group in optimiser.param_groups:
                group["lr"] = _PROBE_LR * (1 - epoch / _PROBE_EPOCHS)
            for encoded, counts, targets, num_targets in rng.sample(features, len(features)):
                log_probs = model.ctc(encoded).log_softmax(-1).transpose(0, 1)
                functional.ctc_loss(
                    log_probs, targets, torch.tensor(counts), num_targets, zero_infinity=True
                ).backward()
                optimiser.step()
                optimiser.zero_grad()

    def _collate(self, units: Sequence[str]) -> Collate:
        """Numbers the test's phonemes that are not among `units` after them: they count as errors."""
        heard = {phoneme for chosen in self.utterances.values() for item in chosen for phoneme in item.phonemes}
        units = [*units, *sorted(heard.difference(units))]
        tokens = {language.code: language.whisper_token for language in self.table}
        size = WhisperSize(ctc_units="phonemes", spec_augment=False)
        return Collate(self.tokenizer, tokens, units, size, random.Random(0))


def _parts(items: Sequence, size: int) -> list[Sequence]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def markdown(figures: Figures) -> str:
    """One line for each thing measured, one column for each language, and the mean."""
    codes = list(next(iter(figures.values())))
    rows = ["| | " + " | ".join([*codes, "mean"]) + " |", "|---|" + "--:|" * (len(codes) + 1)]
    for name, by_language in figures.items():
        values = [*by_language.values(), statistics.mean(by_language.values())]
        rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--backbones", type=Path, default=Path("exp/backbones"), help="directory with llm or whisper")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis")
    return run_step(_run, options.parse_args(argv), "local.mini.evaluate_backbones")


def _run(options: argparse.Namespace) -> None:
    table = LanguageTable.load(options.languages)
    figures: Figures = {}
    llm, whisper = options.backbones / "llm", options.backbones / "whisper"
    if not llm.is_dir() and not whisper.is_dir():
        raise FileNotFoundError(f"{options.backbones}: neither llm nor whisper in it; run stage 0 or give --backbones")
    if llm.is_dir():
        model = Qwen3ForCausalLM.from_pretrained(llm, dtype=torch.float32).eval()
        figures |= ReadingTest(AutoTokenizer.from_pretrained(llm), table)(model)
    if whisper.is_dir():
        model = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).eval()
        tokenizer = WhisperTokenizerFast.from_pretrained(whisper)
        figures |= HearingTest(tokenizer, table, model.config.num_mel_bins, options.nj)(model)
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    log(f"{options.out}: {len(figures)} figures of each language")
    print(markdown(figures))


if __name__ == "__main__":
    sys.exit(main())
