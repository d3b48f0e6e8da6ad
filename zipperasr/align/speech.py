"""Speech to train an aligner with: some minutes of each language, encoded by the trained model.

In: manifests of training sets. Out: the encoder's frames and the labels of each utterance, in memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from zipperasr.align.aligner import Aligner
from zipperasr.align.frames import encoder_frames
from zipperasr.align.spelling import characters
from zipperasr.align.training import Labelled
from zipperasr.align.viterbi import least_frames
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import segment_frames
from zipperasr.batching.batch import Example, collate_speech
from zipperasr.batching.loader import ExampleReader
from zipperasr.batching.manifest import Manifest, open_kind
from zipperasr.languages import LanguageTable
from zipperasr.lora.merging import merged
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.experiment import LANGUAGES, Experiment, located
from zipperasr.model.speech_llm import SpeechLLM

LONGEST_S = 20.0  # of an utterance
ENCODED_AT_ONCE = 8  # utterances

Row = dict[str, Any]  # the columns of a manifest


def choose_rows(manifest: Path, languages: Sequence[str], minutes: float, seed: int) -> dict[str, list[Row]]:
    """Draw up to `minutes` of speech of each language from the training sets of both phases.

    Raises ValueError for a language without speech, of which the aligner would know nothing.
    """
    sets = open_kind(manifest, "train")
    rows = {code: list(_drawn(sets, code, minutes * 60 * SAMPLE_RATE, seed)) for code in languages}
    for code, found in rows.items():
        if not found:
            raise ValueError(f"{manifest}: no training utterance of up to {LONGEST_S:g} s in {code}; run stages 1 to 3")
    return rows


def _drawn(sets: Sequence[Manifest], code: str, wanted: float, seed: int) -> Iterator[Row]:
    """Random rows of a language until `wanted` samples are reached."""
    places = []
    for manifest in sets:
        codes, numbers = manifest.language_codes
        if code in codes:
            fits = (numbers == codes.index(code)) & (manifest.num_samples <= LONGEST_S * SAMPLE_RATE)
            places += [(manifest, int(row)) for row in fits.nonzero()[0]]
    random.Random(f"{seed} {code}").shuffle(places)
    samples = 0
    for manifest, row in places:
        if samples >= wanted:
            return
        yield (found := manifest.row(row))
        samples += found["num_samples"]


def known_characters(rows: dict[str, list[Row]]) -> str:
    """All characters of the transcripts, sorted."""
    return "".join(sorted({char for found in rows.values() for row in found for char in characters(row["text"])}))


def labelled(model: SpeechLLM, directory: Path, aligner: Aligner, rows: dict[str, list[Row]]) -> list[Labelled]:
    """Encode utterances, in half precision; those too short for their labels are left out.

    Raises ValueError if a language has no others.
    """
    utterances, languages = [], set()
    total = sum(map(len, rows.values()))
    for row, _, frames in tqdm(encoded(model, directory, rows), "encoding", total, unit="utt", mininterval=2):
        labels = torch.tensor(aligner.labels(row["text"]))
        if len(labels) and len(frames) >= least_frames(labels.numpy()):
            utterances.append(Labelled(frames.half().cpu(), labels))
            languages.add(row["language"])
    if lost := rows.keys() - languages:
        raise ValueError(
            f"no utterance drawn in {', '.join(sorted(lost))} has letters and enough frames for them; raise --minutes"
        )
    return utterances


def encoded(model: SpeechLLM, directory: Path, rows: dict[str, list[Row]]) -> Iterator[tuple[Row, Example, Tensor]]:
    """Yield each row with its example and the encoder's output (frames, width), computed as for decoding.

    directory: of the model's training. rows: by language.
    """
    experiment = located(Experiment.load(directory), directory)
    settings = experiment.model
    table = LanguageTable.load(directory / LANGUAGES).chosen(experiment.languages)
    trimmed = {"edge_frames": settings.edge_frames, "trim_silence": settings.trim_silence}
    read = ExampleReader(load_tokenizer(settings.llm), table, model.encoder.frontend, **trimmed)
    chunk_frames = segment_frames(settings.decode_chunk_s) if experiment.regime == "chunked" else None
    for code, group in _batches(rows):
        examples = [read(row, with_transcript=False) for row in group]
        speech = collate_speech(examples, model.encoder.frontend).to(model.causal_lm.device)
        update = nullcontext() if model.adapters is None else merged(model.adapters, code)
        with torch.inference_mode(), encoder_frames(model) as frames, update:
            model.embed_speech(speech, chunk_frames)
        yield from zip(group, examples, frames, strict=True)


def _batches(rows: dict[str, list[Row]]) -> Iterator[tuple[str, list[Row]]]:
    for code, found in rows.items():
        for start in range(0, len(found), ENCODED_AT_ONCE):
            yield code, found[start : start + ENCODED_AT_ONCE]
