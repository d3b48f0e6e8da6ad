from collections import Counter
from pathlib import Path

import pytest

from tests.corpora.example import write_text
from zipperasr.datadir.sampling import hash_of, threshold_for_hours
from zipperasr.prepare.utterance_lists import read_list, want


def test_list_is_a_multiset(tmp_path: Path):
    path = write_text(tmp_path / "list.txt", "b", "a ", "b")

    assert read_list(path) == Counter({"b": 2, "a": 1})


def test_list_errors_name_file_and_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"empty.txt: the list is empty; fetch it again"):
        read_list(write_text(tmp_path / "empty.txt"))
    with pytest.raises(ValueError, match=r"list.txt:2: id 'b c' is empty or contains whitespace"):
        read_list(write_text(tmp_path / "list.txt", "a", "b c"))


def test_a_list_has_priority_over_hours_and_hours_over_all_utterances(tmp_path: Path):
    write_text(tmp_path / "here.txt", "a")

    assert want("here.txt", tmp_path, 5.0, True).counts == Counter("a")
    assert want("gone.txt", tmp_path, 5.0, True).hours == 5.0
    assert want(None, tmp_path, 5.0, True).source == "sample"
    everything = want("gone.txt", tmp_path, 5.0, False)
    assert everything.hours is None and everything.counts is None and "gone.txt" in everything.source


def test_sample_is_just_long_enough_and_does_not_depend_on_order():
    ids = [f"utt{n}" for n in range(1000)]
    hashes = [hash_of(utt_id, seed=1) for utt_id in ids]
    durations_s = [36.0] * len(ids)

    limit = threshold_for_hours(hashes, durations_s, hours=2.0)

    assert sum(value <= limit for value in hashes) == 200
    assert threshold_for_hours(hashes[::-1], durations_s, hours=2.0) == limit
    assert threshold_for_hours(hashes, durations_s, hours=99.0) == max(hashes)
    assert threshold_for_hours([], [], hours=1.0) == 0


# the authors' lists: number of lines and of unique ids
PUBLISHED = {
    "train/lite_1h/mls/train_mls_it_ids.txt": (119_246, 59_623),
    "test/lite_1h/commo-voice/ko_test.txt": (664, 332),
    "test/lite_1h/commo-voice/ar_test.txt": (3311, 3049),
    "test/lite_1h/commo-voice/ja_test.txt": (2792, 2461),
    "test/lite_1h/commo-voice/th_test.txt": (2929, 2741),
    "train/lite_30h/common-voice/train_com_voice_ko_ids.txt": (3969, 3108),
    "train/lite_30h/common-voice/train_com_voice_ar_ids.txt": (26_621, 25_547),
    "train/lite_30h/common-voice/train_com_voice_ja_ids.txt": (22_631, 22_608),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_authors_lists_have_the_known_flaws(shared_dir: Path, name: str):
    counts = read_list(shared_dir / "utt_ids" / name)

    assert (sum(counts.values()), len(counts)) == PUBLISHED[name]


def test_authors_korean_train_list_shares_two_ids_with_test(shared_dir: Path):
    train = read_list(shared_dir / "utt_ids/train/lite_30h/common-voice/train_com_voice_ko_ids.txt")
    test = read_list(shared_dir / "utt_ids/test/lite_30h/commo-voice/ko_test.txt")

    assert len(train.keys() & test.keys()) == 2
