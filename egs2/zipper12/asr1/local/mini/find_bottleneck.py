"""Find out which part of a trained mini model fails on a language: encoder, projector or LLM.

In: training directories of stage 5 or 6. Out: for each, a table by language on clean synthetic test speech:
- phoneme error rate of a linear probe on the output of the encoder and of the projector (fitted on all languages);
- nats per token of the LLM shown clean phonemes, a bound for any projector;
- nats per token of the LLM with the projector, before and after training the projector alone on all languages equally.
  If that helps a language, the projector was its bottleneck.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from local.mini import pretraining_data
from local.mini.evaluate_backbones import (
    HEARD_TEXTS,
    UNSEEN_SEED,
    Figures,
    ReadingTest,
    by_language,
    markdown,
    parts,
    probe_speech,
    recipe_sentences,
    with_unheard,
)
from local.mini.pretraining_data import PretrainingUtterance
from local.mini.probe import Features, PhonemeProbe
from zipperasr.atomic import atomic_path
from zipperasr.audio.segments import PROJECTOR_STRIDE, SAMPLES_PER_MEL_FRAME, segment_frames
from zipperasr.batching.batch import Example, collate, collate_speech
from zipperasr.cli import log, parser, run_step
from zipperasr.languages import LanguageTable
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model
from zipperasr.model.prompt import prompt_ids, transcript_ids
from zipperasr.model.speech_llm import SpeechLLM

_BATCH, _LR, _WARMUP = 24, 1e-3, 20  # of the projector's continued training
_SEED = 1

Spoken = dict[str, list[PretrainingUtterance]]


class Bottleneck:
    """Measures one model. test, fit: utterances by language."""

    def __init__(
        self,
        model: SpeechLLM,
        tokenizer: PreTrainedTokenizerBase,
        table: LanguageTable,
        chunk_frames: int | None,
        test: Spoken,
        fit: Spoken,
    ):
        self.model, self.tokenizer, self.table = model.eval().requires_grad_(False), tokenizer, table
        self.chunk_frames, self.test, self.fit = chunk_frames, test, fit
        units = sorted({phoneme for chosen in fit.values() for item in chosen for phoneme in item.phonemes})
        self.num_units = len(units)
        self.index = {unit: number for number, unit in enumerate(with_unheard(units, test), 1)}

    def measure(self, num_steps: int) -> Figures:
        """Return all figures; `num_steps`: how long to continue training the projector."""
        figures = {
            "phoneme error, encoder": self._probe(after_projector=False),
            "phoneme error, projector": self._probe(after_projector=True),
            "nats, clean phonemes": ReadingTest(self.tokenizer, self.table).recipe_clean(self.model.causal_lm),
            "nats, projector": self._nats(),
        }
        self.train_projector(num_steps)
        return figures | {f"nats, projector + {num_steps} steps": self._nats()}

    def train_projector(self, num_steps: int) -> None:
        """Continue training the projector on all languages equally, everything else frozen."""
        rng = random.Random(_SEED)
        torch.manual_seed(_SEED)
        self.model.projector.requires_grad_(True)
        optimiser = torch.optim.AdamW(self.model.projector.parameters(), lr=_LR)
        everything = [utterance for chosen in self.fit.values() for utterance in chosen]
        for step in tqdm(range(num_steps), desc="projector"):
            for group in optimiser.param_groups:
                group["lr"] = _LR * min((step + 1) / _WARMUP, 1 - step / num_steps)
            examples = [self._example(utterance) for utterance in rng.sample(everything, min(_BATCH, len(everything)))]
            loss, _, weight = self.model(collate([[example] for example in examples]), self.chunk_frames)
            (loss / weight).backward()
            torch.nn.utils.clip_grad_norm_(self.model.projector.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        self.model.projector.requires_grad_(False)

    @torch.no_grad()
    def _nats(self) -> dict[str, float]:
        """Return the cross-entropy of the test texts, by language."""
        nats = {}
        for code, chosen in self.test.items():
            total, weights = 0.0, 0
            for group in parts(chosen):
                loss, _, weight = self.model(collate([[self._example(item) for item in group]]), self.chunk_frames)
                total, weights = total + float(loss), weights + int(weight)
            nats[code] = round(total / weights, 3)
        return nats

    def _probe(self, after_projector: bool) -> dict[str, float]:
        """Return the phoneme error rate of a probe, by language. A row of the projector spans four of the encoder."""
        with torch.no_grad():
            fit = [self._features(group, after_projector) for spoken in self.fit.values() for group in parts(spoken)]
            test = {
                code: [self._features(group, after_projector) for group in parts(spoken)]
                for code, spoken in self.test.items()
            }
        probe = PhonemeProbe.fitted(fit, self.num_units, PROJECTOR_STRIDE if after_projector else 1)
        return {code: probe.error(batches) for code, batches in test.items()}

    def _features(self, group: Sequence[PretrainingUtterance], after_projector: bool) -> Features:
        """Return the projector's output, or its input."""
        inputs: list[torch.Tensor] = []
        hook = self.model.projector.register_forward_pre_hook(lambda module, args: inputs.append(args[:2]))
        speech = collate_speech([self._example(utterance) for utterance in group])
        rows, counts = self.model.embed_speech(speech, self.chunk_frames)
        hook.remove()
        if not after_projector:
            rows, counts = inputs[0]
        units = [[self.index[phoneme] for phoneme in utterance.phonemes] for utterance in group]
        return Features(
            pad_sequence(list(rows.split(list(counts))), batch_first=True),
            list(counts),
            torch.tensor([unit for spelled in units for unit in spelled]),
            torch.tensor([len(spelled) for spelled in units]),
        )

    def _example(self, utterance: PretrainingUtterance) -> Example:
        return Example(
            utt_id="",
            language=utterance.language,
            mel=torch.from_numpy(utterance.mel).float(),
            num_samples=len(utterance.mel) * SAMPLES_PER_MEL_FRAME,
            prompt=prompt_ids(self.tokenizer, self.table[utterance.language]),
            transcript=transcript_ids(self.tokenizer, utterance.text),
        )


def find_bottlenecks(exps: Sequence[Path], table: LanguageTable, steps: int, nj: int) -> dict[str, Figures]:
    """Measure each model, print its table, and return all figures by directory."""
    experiments = {exp: Experiment.load(exp) for exp in exps}
    mel_bins = next(iter(experiments.values())).model.mel_bins
    sentences = recipe_sentences(table.codes, HEARD_TEXTS)
    test = by_language(pretraining_data.speak_all(sentences, UNSEEN_SEED, mel_bins, nj, "test"))
    fit = probe_speech(table, mel_bins, nj)
    figures: dict[str, Figures] = {}
    for exp, experiment in experiments.items():
        codes = table.codes if experiment.phase == "align" else experiment.languages
        chunk_frames = segment_frames(experiment.model.decode_chunk_s) if experiment.regime == "chunked" else None
        known = [{code: spoken[code] for code in codes if code in spoken} for spoken in (test, fit)]
        model, tokenizer = load_model(exp), load_tokenizer(experiment.model.llm)
        bottleneck = Bottleneck(model, tokenizer, table.chosen(list(known[0])), chunk_frames, *known)
        figures[str(exp)] = bottleneck.measure(steps)
        log(f"{exp}: {experiment.lora or experiment.phase}")
        print(markdown(figures[str(exp)]), flush=True)
    return figures


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, nargs="+", required=True, help="training directories")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument("--steps", type=int, default=300, help="steps to continue training the projector")
    options.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis")

    def step(given: argparse.Namespace) -> None:
        figures = find_bottlenecks(given.exp, LanguageTable.load(given.languages), given.steps, given.nj)
        with atomic_path(given.out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    return run_step(step, options.parse_args(argv), "local.mini.find_bottleneck")


if __name__ == "__main__":
    sys.exit(main())
