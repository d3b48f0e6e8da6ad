"""Word times are ordered and inside the speech; files are read strictly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.align.test_training import WIDTH, config
from zipperasr.align.aligner import CONFIG, WEIGHTS, Aligner
from zipperasr.model.experiment import weights_digest


@pytest.fixture
def directory(tmp_path):
    """A training directory with an aligner."""
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    torch.manual_seed(2)
    Aligner(config(model=weights_digest(tmp_path))).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("seed", range(5))
def test_times_never_decrease_and_are_inside_the_speech(seed):
    torch.manual_seed(seed)
    words = ["Ab", "c?", "...", "xyz", "d"]  # x, y and z are not in the training data
    times = np.array(Aligner(config()).eval().times(torch.randn(40, WIDTH), words))
    assert times.shape == (5, 2)
    assert (np.diff(times.flatten()) >= 0).all()
    assert times.min() >= 0 and times.max() <= 40 * 0.02


def test_gaps_between_words_are_divided_unless_they_are_pauses(monkeypatch):
    aligner = Aligner(config()).eval()
    spoken = "aa__bb____cc_dd________________aa"  # frame by frame; characters begin 5 frames apart, typically
    scores = np.full((len(spoken), len(aligner.config.characters) + 2), -100.0)
    for frame, char in enumerate(spoken):
        scores[frame, 0 if char == "_" else aligner.labels(char)[0]] = 0.0
    monkeypatch.setattr(aligner, "_scores", lambda _: scores)
    times = aligner.times(torch.zeros(len(spoken), WIDTH), ["a", "b", "c", "d", "a"])
    expected = [(0, 3), (3, 8), (8, 12.5), (12.5, 15), (31, 33)]  # in frames; a character is recognised one frame late
    frames = [(max(0.0, start - 1), end - 1) for start, end in expected]
    assert np.array(times) == pytest.approx(0.02 * np.array(frames))


def test_words_that_the_speech_is_too_short_for_have_no_times():
    aligner = Aligner(config()).eval()
    assert aligner.times(torch.randn(3, WIDTH), ["abcd"]) is None
    assert aligner.times(torch.randn(3, WIDTH), ["?"]) is None
    assert aligner.times(torch.randn(3, WIDTH), []) is None


def test_a_saved_aligner_gives_the_same_times(directory):
    aligner = Aligner.load(directory)
    torch.manual_seed(2)
    same = Aligner(config(model=aligner.config.model)).eval()
    frames = torch.randn(30, WIDTH)
    assert aligner.times(frames, ["ab", "cd"]) == same.times(frames, ["ab", "cd"])
    assert replace(aligner.config, weights="") == same.config


def test_a_model_that_was_retrained_needs_another_aligner(directory):
    save_file({"a": torch.zeros(2)}, directory / "model.safetensors")
    with pytest.raises(ValueError, match="retrained after its aligner; run `zipperasr train-aligner` again"):
        Aligner.load(directory)


def test_a_missing_or_damaged_aligner_is_an_error(directory):
    tensors = {name: tensor for name, tensor in Aligner.load(directory).state_dict().items() if name != "out.bias"}
    save_file(tensors, directory / WEIGHTS)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: does not fit {CONFIG}"):
        Aligner.load(directory)
    (directory / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="no aligner; run `zipperasr train-aligner`"):
        Aligner.load(directory)


def test_weights_that_the_configuration_was_not_saved_with_are_an_error(directory):
    tensors = Aligner.load(directory).state_dict()
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, directory / WEIGHTS)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: does not fit {CONFIG}; run `zipperasr train-aligner` again"):
        Aligner.load(directory)


def test_sizes_that_need_much_memory_are_compared_before_it_is_used(directory):
    tree = yaml.safe_load((directory / CONFIG).read_text("utf-8"))
    (directory / CONFIG).write_text(yaml.safe_dump({**tree, "width": 65_536, "hidden": 65_536, "kernel": 65_535}))
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: does not fit {CONFIG}"):  # 1 PB
        Aligner.load(directory)


def test_a_failed_save_leaves_the_aligner_as_it_was(directory, monkeypatch):
    before = Aligner.load(directory)
    monkeypatch.setattr(yaml, "safe_dump", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Aligner(config(model=before.config.model)).save(directory)
    assert Aligner.load(directory).config == before.config


def test_others_may_read_what_others_may_read_of_a_training(directory):
    (directory / "new").touch()
    modes = {(directory / name).stat().st_mode for name in (CONFIG, WEIGHTS, "new")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": 4}, "kernel: got 4, wanted an odd"),
        ({"prior": 2.0}, "prior"),
        ({"hidden": 10**30}, "hidden: got .*, wanted"),
        ({"characters": ""}, "characters: got none"),
        ({"characters": "abca"}, "characters: .*wanted each character once"),
    ],
)
def test_settings_out_of_range_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_times_are_ordered_whatever_the_weights(value):
    torch.manual_seed(1)
    aligner = Aligner(config()).eval()
    aligner.out.weight.data[1] = value
    times = np.array(aligner.times(torch.randn(20, WIDTH), ["ab", "c"]))
    assert times.min() >= 0 and (np.diff(times.flatten()) >= 0).all() and times.max() <= 0.4
    assert (aligner.relative_scores(torch.randn(20, WIDTH)) <= 0).all()
