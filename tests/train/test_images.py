"""ESPnet's Reporter plots the training curves."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

from zipperasr.train import images


@pytest.fixture
def out(tmp_path):
    train = [{"step": step, "loss": 5.0 / step, "lr": 1e-3, "grad_norm": None, "fill": 0.9} for step in range(1, 9)]
    dev = [{"step": step, "loss": 5.0 / step, "loss_de": 4.0 / step} for step in (2, 4, 8)]
    for name, lines in (("train", train), ("dev", dev)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_there_is_one_plot_per_quantity(out):
    images.draw_images(out)
    found = {path.name for path in (out / "images").iterdir()}
    assert found == {"loss.png", "loss_de.png", "lr.png", "grad_norm.png", "fill.png"}
    assert imread(out / "images" / "loss.png").std() > 0.05


def test_nothing_is_plotted_before_the_first_evaluation(out):
    (out / "dev.jsonl").unlink()
    images.draw_images(out)
    assert not (out / "images").exists()


def test_without_espnet_one_line_is_logged_and_training_continues(out, monkeypatch, capsys):
    monkeypatch.setattr(images, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    drawing = images.Images(out)
    assert [drawing.draw(), drawing.draw()] == [False, False]
    assert capsys.readouterr().err.count("no plots, since espnet is not installed; run tools/install_espnet.sh") == 1


def test_plots_are_drawn_at_most_every_30_s(out, monkeypatch):
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr(images, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # only this module's clock
    drawing = images.Images(out)
    assert [drawing.draw(), drawing.draw(), drawing.draw()] == [False, True, False]
    assert (out / "images" / "loss.png").exists()
