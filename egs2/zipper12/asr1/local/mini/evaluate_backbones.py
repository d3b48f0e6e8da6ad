"""Evaluate the mini backbones per language, on texts and voices that they were not trained on.

In: the directories of the two backbones. Out: a table, and a JSON file with the same figures.
LLM: nats per token of texts shown as phonemes: clean, blurred, and blurred and joined to 25 s with pauses.
Whisper: phoneme error rate of a linear probe on the frozen encoder, with utterances encoded whole, in chunks, or joined
with pauses; and how often the decoder detects the language.
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
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen3ForCausalLM,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from local.mini import pretraining_data
from local.mini.hearing import Batch, Collate
from local.mini.plan import load_plan
from local.mini.pretrain_llm import LlmSize, summed_loss
from local.mini.pretrain_whisper import PretrainingModel, WhisperSize
from local.mini.pretraining_data import PretrainingUtterance, Pronounced
from local.mini.probe import Features, PhonemeProbe
from local.mini.reading import Line, Reader
from local.mini.texts import Sentence, make_sentences
from zipperasr.atomic import atomic_path
from zipperasr.audio.segments import segment_frames
from zipperasr.cli import log, parser, run_step
from zipperasr.languages import LanguageTable

UNSEEN_SEED, PROBE_SEED = 99, 98
READ_TEXTS, HEARD_TEXTS, PROBE_TEXTS = 60, 30, 100  # per language
READ_CONDITIONS, HEARD_CONDITIONS = ("clean", "blurred", "joined"), ("alone", "chunked", "joined")
CHUNK_S = 2.0
BATCH = 20  # lines or utterances

Figures = dict[str, dict[str, float]]  # what was measured -> language code -> figure


def unseen_sentences(codes: Sequence[str]) -> dict[str, list[Sentence]]:
    """Return sentences of the pretraining patterns; pretraining must exclude them."""
    return {code: make_sentences(code, READ_TEXTS, UNSEEN_SEED, "pretrain") for code in codes}


def recipe_sentences(codes: Sequence[str], count: int) -> dict[str, list[Sentence]]:
    """Return test sentences of the mini corpora, whose patterns are not in the pretraining texts."""
    chosen: dict[str, list[Sentence]] = {code: [] for code in codes}
    for part in load_plan()[2]:
        if part.kind == "test" and part.language in chosen:
            chosen[part.language] += part.sentences
    return {code: sentences[:count] for code, sentences in chosen.items()}


class ReadingTest:
    """Measures nats per token of an LLM that is shown phonemes, by set of texts, condition and language."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, table: LanguageTable):
        self.tokenizer, self.table = tokenizer, table
        self.texts = {
            "unseen": pretraining_data.pronounce(unseen_sentences(table.codes)),
            "recipe": pretraining_data.pronounce(recipe_sentences(table.codes, READ_TEXTS)),
        }

    def __call__(self, model: Qwen3ForCausalLM) -> Figures:
        """Return, for example, {"recipe clean": {"en": 0.21, ...}, ...}."""
        return {
            f"{name} {condition}": {code: round(self._nats(model, texts, code, condition), 3) for code in texts}
            for name, texts in self.texts.items()
            for condition in READ_CONDITIONS
        }

    def recipe_clean(self, model: Qwen3ForCausalLM) -> dict[str, float]:
        """Measure the clean texts of the recipe only."""
        texts = self.texts["recipe"]
        return {code: round(self._nats(model, texts, code, "clean"), 3) for code in texts}

    @torch.no_grad()
    def _nats(self, model: Qwen3ForCausalLM, texts: dict[str, list[Pronounced]], code: str, condition: str) -> float:
        reader = Reader(texts, {}, self.tokenizer, self.table, LlmSize(), seed=0)
        lines = self._lines(reader, texts[code], code, condition)
        order = sorted(lines, key=lambda line: line.num_positions)
        total = 0.0
        for group in parts(order, 4 if condition == "joined" else BATCH):  # long lines need more memory
            total += float(summed_loss(model, group, reader.size.noise, reader.rng))
        return total / sum(len(line.text) for line in lines)

    def _lines(self, reader: Reader, texts: list[Pronounced], code: str, condition: str) -> list[Line]:
        blur = 0.0 if condition == "clean" else 1.0
        if condition == "joined":
            return [reader.shown(code, texts, "phonemes", blur, reader.size.longest) for _ in range(len(texts) // 10)]
        # texts alternate between written and plain form
        chosen = [texts[2 * number + number % 2] for number in range(len(texts) // 2)]
        return [reader.shown(code, [text], "phonemes", blur, 0) for text in chosen]


class HearingTest:
    """Measures phoneme errors and language identification of a mini Whisper, on unseen texts and voices."""

    def __init__(self, tokenizer: WhisperTokenizerFast, table: LanguageTable, mel_bins: int, nj: int):
        self.tokenizer, self.table, self.mel_bins, self.nj = tokenizer, table, mel_bins, nj
        spoken = recipe_sentences(table.codes, HEARD_TEXTS)
        self.utterances = by_language(pretraining_data.speak_all(spoken, UNSEEN_SEED, mel_bins, nj, "test"))

    def __call__(self, whisper: WhisperForConditionalGeneration) -> Figures:
        """Measure with a probe trained here, on texts and voices that are not in the test."""
        heard = probe_speech(self.table, self.mel_bins, self.nj)
        units = sorted({phoneme for chosen in heard.values() for item in chosen for phoneme in item.phonemes})
        model, collate = PretrainingModel(whisper.eval(), len(units)), self._collate(units)
        chunk_frames = segment_frames(CHUNK_S)
        with torch.no_grad():  # every utterance both whole and in chunks
            batches = [
                _features(model, collate(group), frames)
                for chosen in heard.values()
                for group in parts(chosen)
                for frames in (None, chunk_frames)
            ]
        return self._figures(model, PhonemeProbe.fitted(batches, len(units)), units)

    def in_training(self, model: PretrainingModel, units: Sequence[str]) -> Figures:
        """Measure with the CTC head of the training, if it predicts phonemes."""
        phonemes = any(len(unit) > 1 for unit in units)
        return self._figures(model, PhonemeProbe(model.ctc) if phonemes else None, units)

    @torch.no_grad()
    def _figures(self, model: PretrainingModel, probe: PhonemeProbe | None, units: Sequence[str]) -> Figures:
        figures = {"languages named": {code: self._named(model, code) for code in self.utterances}}
        for condition in HEARD_CONDITIONS if probe else ():
            collate, errors = self._collate(units), {}
            for code, chosen in self.utterances.items():
                groups = [collate.joined(g) if condition == "joined" else collate(g) for g in parts(chosen)]
                chunk_frames = segment_frames(CHUNK_S) if condition == "chunked" else None
                errors[code] = probe.error([_features(model, group, chunk_frames) for group in groups])
            figures[f"phoneme error {condition}"] = errors
        return figures

    def _named(self, model: PretrainingModel, code: str) -> float:
        """Return the share of the utterances whose language the decoder detects, among the table's languages."""
        tokens = [f"<|{language.whisper_token}|>" for language in self.table]
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        start = torch.tensor([[model.whisper.config.decoder_start_token_id]])
        right = 0
        for utterance in self.utterances[code]:
            hidden, _ = model.encoder(torch.from_numpy(utterance.mel).float(), [len(utterance.mel)])
            decoded = model.whisper.model.decoder(input_ids=start, encoder_hidden_states=hidden[None])
            logits = model.whisper.proj_out(decoded.last_hidden_state)[0, 0, ids]
            right += self.table.codes[int(logits.argmax())] == code
        return round(right / len(self.utterances[code]), 4)

    def _collate(self, units: Sequence[str]) -> Collate:
        tokens = {language.code: language.whisper_token for language in self.table}
        size = WhisperSize(ctc_units="phonemes", spec_augment=False)
        return Collate(self.tokenizer, tokens, with_unheard(units, self.utterances), size, random.Random(0))


def probe_speech(table: LanguageTable, mel_bins: int, nj: int) -> dict[str, list[PretrainingUtterance]]:
    """Return the training data of probes: texts that pretraining excludes, voices of neither pretraining nor test."""
    sentences = {code: make_sentences(code, PROBE_TEXTS, PROBE_SEED, "pretrain") for code in table.codes}
    return by_language(pretraining_data.speak_all(sentences, PROBE_SEED, mel_bins, nj, "train"))


def by_language(utterances: Sequence[PretrainingUtterance]) -> dict[str, list[PretrainingUtterance]]:
    """Group utterances by language, sorted by length."""
    grouped: dict[str, list[PretrainingUtterance]] = defaultdict(list)
    for utterance in utterances:
        grouped[utterance.language].append(utterance)
    return {code: sorted(chosen, key=lambda item: len(item.mel)) for code, chosen in grouped.items()}


def with_unheard(units: Sequence[str], utterances: dict[str, list[PretrainingUtterance]]) -> list[str]:
    """Return the probe's `units`, then phonemes that only the test has, which count as errors."""
    heard = {phoneme for chosen in utterances.values() for item in chosen for phoneme in item.phonemes}
    return [*units, *sorted(heard.difference(units))]


def _features(model: PretrainingModel, batch: Batch, chunk_frames: int | None) -> Features:
    return Features(*model.encode(batch, chunk_frames), batch.units, batch.num_units)


def parts(items: Sequence, size: int = BATCH) -> list[Sequence]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def markdown(figures: Figures) -> str:
    """Format the figures: one row per measurement, one column per language, and the mean."""
    codes = list(next(iter(figures.values())))
    rows = ["| | " + " | ".join([*codes, "mean"]) + " |", "|---|" + "--:|" * (len(codes) + 1)]
    for name, values in figures.items():
        cells = [*(values[code] for code in codes), statistics.mean(values.values())]
        rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in cells) + " |")
    return "\n".join(rows)


def evaluate(backbones: Path, table: LanguageTable, nj: int) -> Figures:
    """Measure the LLM and the Whisper in `backbones`, or the one that is there. Raises FileNotFoundError."""
    figures: Figures = {}
    llm, whisper = backbones / "llm", backbones / "whisper"
    if not llm.is_dir() and not whisper.is_dir():
        raise FileNotFoundError(f"{backbones}: contains neither llm nor whisper; run stage 0 or give --backbones")
    if llm.is_dir():
        model = Qwen3ForCausalLM.from_pretrained(llm, dtype=torch.float32, trust_remote_code=False).eval()
        figures |= ReadingTest(AutoTokenizer.from_pretrained(llm, trust_remote_code=False), table)(model)
    if whisper.is_dir():
        model = WhisperForConditionalGeneration.from_pretrained(
            whisper, dtype=torch.float32, trust_remote_code=False
        ).eval()
        tokenizer = WhisperTokenizerFast.from_pretrained(whisper, trust_remote_code=False)
        figures |= HearingTest(tokenizer, table, model.config.num_mel_bins, nj)(model)
    return figures


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--backbones", type=Path, default=Path("exp/backbones"), help="directory with llm or whisper")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis")

    def step(given: argparse.Namespace) -> None:
        figures = evaluate(given.backbones, LanguageTable.load(given.languages), given.nj)
        with atomic_path(given.out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        log(f"{given.out}: {len(figures)} figures per language")
        print(markdown(figures))

    return run_step(step, options.parse_args(argv), "local.mini.evaluate_backbones")


if __name__ == "__main__":
    sys.exit(main())
