"""Load the packs of each global step, ahead of time in worker processes.

In: manifests and the packs of each epoch (packing.py). Out: one PackedBatch per micro-step. Item i depends on i only,
so a resumed run starts at any step at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from zipperasr.audio.clips import load_clip
from zipperasr.audio.frontend import Frontend
from zipperasr.audio.loudness import speech_span
from zipperasr.audio.segments import mel_frames
from zipperasr.audio.spec_augment import NO_MASKS, mask
from zipperasr.batching.augmenter import AugmentedUtterance, Augmenter
from zipperasr.batching.batch import Example, PackedBatch, collate
from zipperasr.batching.manifest import Manifest
from zipperasr.batching.packing import Pack, Packs, global_batches, pack_epoch
from zipperasr.batching.speeds import UNCHANGED
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import prompt_ids, transcript_ids


class ExampleReader:
    """Reads one utterance: audio, features, token ids.

    Args:
        frontend: computes the features.
        features: compute them here; otherwise the device does.
        edge_frames: see `log_mel`.
        trim_silence: remove the silence before and after the speech, see `speech_span`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        languages: LanguageTable,
        frontend: Frontend,
        features: bool = True,
        edge_frames: int = 0,
        trim_silence: bool = False,
    ):
        self.tokenizer = tokenizer
        self.frontend = frontend
        self.features = features
        self.edge_frames = edge_frames
        self.trim_silence = trim_silence
        self.prompts = {language.code: prompt_ids(tokenizer, language) for language in languages}

    def __call__(self, row: dict, with_transcript: bool = True, augmented: AugmentedUtterance | None = None) -> Example:
        """Read a row of a manifest. Raises ValueError if its audio has another length than the manifest says."""
        samples = load_clip(row["audio"])
        if len(samples) != row["num_samples"]:
            raise ValueError(
                f"{row['audio']}: {row['utt_id']}: got {len(samples)} samples, manifest says {row['num_samples']}; "
                "rerun stages 2 and 3"
            )
        audio = torch.from_numpy(samples if augmented is None else augmented.audio(samples))
        return self.of_audio(row["utt_id"], row["language"], audio, row["text"] if with_transcript else None, augmented)

    def of_audio(
        self,
        utt_id: str,
        language: str,
        audio: Tensor,
        text: str | None = None,
        augmented: AugmentedUtterance | None = None,
    ) -> Example:
        """Make an example of audio (num_samples,) at 16 kHz.

        Args:
            text: the transcript; None when decoding.
            augmented: draws masks for the features; `audio` has already been augmented.
        """
        kept = speech_span(audio.numpy()) if self.trim_silence else slice(0, len(audio))
        audio = audio[kept]
        num_frames = mel_frames(len(audio)) + self.edge_frames
        masks = NO_MASKS if augmented is None else augmented.masks(num_frames, self.frontend.mel_bins)
        return Example(
            utt_id=utt_id,
            language=language,
            mel=mask(self.frontend(audio, self.edge_frames), masks) if self.features else None,
            num_samples=len(audio),
            prompt=self.prompts[language],
            transcript=() if text is None else transcript_ids(self.tokenizer, text),
            audio=None if self.features else audio,
            edge_frames=self.edge_frames,
            start=kept.start,
            masks=NO_MASKS if self.features else masks,
        )


class Batches(Sequence[list[Pack]]):
    """The global batches of several epochs; the packs of a batch are created on access."""

    def __init__(self, epochs: Sequence[Packs], packs_per_batch: int):
        self._epochs = epochs
        self._chosen = [global_batches(len(packs), packs_per_batch) for packs in epochs]
        self.per_epoch = tuple(map(len, self._chosen))

    def __len__(self) -> int:
        return sum(self.per_epoch)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        epoch = 0
        while index >= self.per_epoch[epoch]:
            index -= self.per_epoch[epoch]
            epoch += 1
        return [self._epochs[epoch][place] for place in self._chosen[epoch][index]]


@dataclass(frozen=True)
class TrainingPlan:
    """All global batches of a training, epoch after epoch."""

    batches: Sequence[list[Pack]]
    steps_per_epoch: tuple[int, ...]

    @classmethod
    def make(
        cls,
        manifests: Sequence[Manifest],
        max_positions: int,
        packs_per_step: int,
        epochs: int,
        seed: int,
        language_sampling: float = 1.0,
        num_processes: int = 1,
        speeds: Sequence[float] = (),
    ) -> TrainingPlan:
        sampled = (language_sampling, num_processes, speeds)
        packs = [pack_epoch(manifests, max_positions, seed, epoch, *sampled) for epoch in range(epochs)]
        batches = Batches(packs, packs_per_step)
        return cls(batches, batches.per_epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def num_tokens(self, step: int) -> int:
        """Return the number of labels in the global batch, by which the loss is divided."""
        return sum(pack.num_tokens for pack in self.batches[step])

    def languages(self, step: int) -> set[str]:
        """Return the languages of the global batch."""
        return {pack.language for pack in self.batches[step]}


class MicroBatches(Dataset):
    """The micro-steps of one rank. Packs are sorted by language, so that a micro-step has few languages.

    Args:
        augmenter: changes the utterances; None for dev sets.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        batches: Sequence[Sequence[Pack]],
        read: ExampleReader,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        augmenter: Augmenter | None = None,
    ):
        self.manifests = manifests
        self.batches = batches
        self.read = read
        self.share = rank
        self.world_size = world_size
        self.accumulation = accumulation
        self.augmenter = augmenter

    def __len__(self) -> int:
        return len(self.batches) * self.accumulation

    def __getitem__(self, index: int) -> PackedBatch:
        step, micro = divmod(index, self.accumulation)
        packs = sorted(self.batches[step], key=lambda pack: (pack.language, pack.rows))
        shares = self.world_size * self.accumulation
        mine = self.share * self.accumulation + micro
        size = len(packs) // shares
        places = range(mine * size, (mine + 1) * size)
        return collate([self._examples(packs[place], step, place) for place in places], self.read.frontend)

    def _examples(self, pack: Pack, step: int, place: int) -> list[Example]:
        """Read a pack. place: its index in the global batch, in the order of `__getitem__`."""
        rows = [self.manifests[number].row(row) for number, row in pack.rows]
        if self.augmenter is None:
            return [self.read(row) for row in rows]
        speeds = pack.speeds or (UNCHANGED,) * len(rows)
        return [
            self.read(row, augmented=self.augmenter.utterance(step, place, index, speed))
            for index, (row, speed) in enumerate(zip(rows, speeds, strict=True))
        ]


def prefetched(
    dataset: Dataset, start: int, num_workers: int, init_worker: Callable[[int], None] | None = None
) -> Iterable[PackedBatch]:
    """Return a loader of items start, start + 1, ... of `dataset`; its workers first call `init_worker`.

    Can be iterated repeatedly. The workers are forked once, by the first iteration, and kept, because forking a process
    that has a CUDA context and threads is slow and unsafe.
    """
    settings = {"prefetch_factor": 4, "multiprocessing_context": "fork", "persistent_workers": True}
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, len(dataset)),
        num_workers=num_workers,
        worker_init_fn=init_worker,
        pin_memory=torch.cuda.is_available(),
        **(settings if num_workers else {}),
    )
