"""The data of each rank: complete, disjoint, independent of the number of ranks, workers and restarts."""

from __future__ import annotations

import os

import pytest
import torch
from torch.utils.data import Dataset

from tests.model import tiny
from zipperasr.batching.loader import ExampleReader, MicroBatches, TrainingPlan, prefetched
from zipperasr.batching.manifest import open_kind
from zipperasr.languages import LanguageTable

MAX = 72


@pytest.fixture(scope="module")
def manifests(noise_recipe):
    return open_kind(noise_recipe / "dump" / "manifest", "train")


@pytest.fixture(scope="module")
def plan(manifests):
    return TrainingPlan.make(manifests, MAX, packs_per_step=4, epochs=2, seed=1)


@pytest.fixture(scope="module")
def read(noise_recipe):
    table = LanguageTable.load(noise_recipe / "conf" / "languages.tsv")
    return ExampleReader(tiny.llm_tokenizer(), table, tiny.FRONTEND)


def ids(batches) -> list[str]:
    return [utt_id for batch in batches for utt_id in batch.utt_ids]


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (4, 1), (2, 2), (1, 4)])
def test_the_ranks_shares_cover_the_global_batch_once(manifests, plan, read, world_size, accumulation):
    ranks = [MicroBatches(manifests, plan.batches, read, rank, world_size, accumulation) for rank in range(world_size)]
    for step in range(len(plan)):
        wanted = sorted(manifests[m].row(row)["utt_id"] for pack in plan.batches[step] for m, row in pack.rows)
        shares = [ids(rank[step * accumulation + micro] for micro in range(accumulation)) for rank in ranks]
        assert sorted(utt_id for share in shares for utt_id in share) == wanted
        assert all(shares)


def test_the_plan_counts_the_labels_and_languages_of_the_global_batch(manifests, plan, read):
    data = MicroBatches(manifests, plan.batches, read)
    for step in range(len(plan)):
        batch = data[step]
        assert plan.num_tokens(step) == len(batch.text.label_places)
        assert plan.languages(step) == set(batch.speech.languages)


def test_the_plan_follows_from_the_seed_and_epochs_differ(manifests, plan):
    same, other = (TrainingPlan.make(manifests, MAX, packs_per_step=4, epochs=2, seed=seed) for seed in (1, 2))
    assert list(plan.batches) == list(same.batches) != list(other.batches)
    first, second = plan.batches[: plan.steps_per_epoch[0]], plan.batches[plan.steps_per_epoch[0] :]
    assert first != second
    assert len(plan) == sum(plan.steps_per_epoch) == len(first) + len(second)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_gets_the_same_items(manifests, plan, read, num_workers):
    data = MicroBatches(manifests, plan.batches, read, rank=1, world_size=2, accumulation=2)
    assert len(data) == 2 * len(plan)
    from_start = list(prefetched(data, 0, 0))
    resumed = list(prefetched(data, 3, num_workers))
    assert len(resumed) == len(data) - 3
    for one, other in zip(from_start[3:], resumed, strict=True):
        assert one.utt_ids == other.utt_ids
        assert torch.equal(one.speech.mel, other.speech.mel)
        assert torch.equal(one.text.input_ids, other.text.input_ids)


class ProcessIds(Dataset):
    """A dataset whose items are the id of the process that loads them."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return os.getpid()


def test_later_passes_reuse_the_workers_of_the_first():
    """Forking for each evaluation would copy a process that has a CUDA context and threads by then."""
    batches = prefetched(ProcessIds(), 0, num_workers=2)
    first, second = set(batches), set(batches)
    assert first == second and len(first) == 2 and os.getpid() not in first


def test_features_computed_on_the_device_equal_those_of_the_loader(manifests, plan, read):
    late = ExampleReader(read.tokenizer, tiny.table(), tiny.FRONTEND, features=False)
    one, other = (MicroBatches(manifests, plan.batches, reader)[0] for reader in (read, late))
    assert other.speech.mel is None
    moved = other.to("cpu")
    assert moved.speech.audio == ()
    assert torch.equal(one.speech.mel, moved.speech.mel)
    assert one.speech.lengths == moved.speech.lengths


def test_a_rank_gets_few_languages_per_batch(manifests, plan, read):
    """Packs are distributed in the order of languages, so that a rank's share is contiguous."""
    data = [MicroBatches(manifests, plan.batches, read, rank, 2) for rank in range(2)]
    for step in range(len(plan)):
        first, second = (sorted(rank[step].speech.languages) for rank in data)
        assert first[-1] <= second[0]


def test_audio_whose_length_differs_from_the_manifest_is_an_error(manifests, read):
    row = {**manifests[0].row(0), "num_samples": 17}
    with pytest.raises(ValueError, match=r"flac: s-es0-00: got \d+ samples, manifest says 17; rerun stages 2 and 3"):
        read(row)


def test_too_little_data_for_one_global_batch_is_an_error(manifests):
    with pytest.raises(ValueError, match=r"packs of training data do not fill one global batch of 1000"):
        TrainingPlan.make(manifests, MAX, packs_per_step=1000, epochs=1, seed=1)
