from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from zipperasr.report.claims.resampling import Estimate
from zipperasr.report.collect import Run, find_trainings, read_run
from zipperasr.report.figures import FIGURES, draw_all, systems
from zipperasr.report.figures.bars import draw_bars
from zipperasr.report.figures.change import draw_changes, relative_changes
from zipperasr.report.figures.lid import draw_cosines, read_cosines
from zipperasr.report.figures.loss import draw_loss
from zipperasr.report.figures.radar import draw_radar
from zipperasr.report.figures.router import draw_router
from zipperasr.report.figures.style import figure


def is_a_picture(path) -> bool:
    """Check that a figure is wide enough and not empty."""
    pixels = matplotlib.image.imread(path)
    return pixels.shape[0] >= 400 and pixels.shape[1] >= 600 and pixels[..., :3].std() > 0.01


@pytest.fixture
def run(pristine_run, languages) -> Run:
    return read_run(pristine_run / "exp", pristine_run / "conf" / "datasets.tsv", languages)


def test_every_figure_is_drawn_from_a_run(run, tmp_path):
    drawn = draw_all(run, tmp_path)
    assert {path.name for path in drawn.values()} == {
        "systems_chunked.png",
        "error_rates_chunked.png",
        "radar_chunked.png",
        "change.png",
        "loss_chunked.png",
        "lid_token.png",
        "lid_state.png",
        "router_sft_zipper_soft_chunked.png",
    }
    assert all(is_a_picture(path) for path in drawn.values())


def test_a_figure_is_added_by_one_module_and_one_registry_line(run, tmp_path, monkeypatch):
    def draw(run: Run, directory) -> dict:
        path = directory / "speed.png"
        with figure(path, 4.0, 3.0) as (_, (axis,)):
            axis.bar(*zip(*((decoding.name, decoding.audio_s_per_s) for decoding in run.decodings), strict=True))
        return {"Decoding speed": path}

    monkeypatch.setitem(FIGURES, "speed", draw)
    drawn = draw_all(run, tmp_path)
    assert list(drawn)[-1] == "Decoding speed" and is_a_picture(drawn["Decoding speed"])


def test_systems_have_the_interval_of_their_mean(run):
    """With one seed, the variance of the mean over four languages is a sixteenth of the sum of their variances."""
    scores = [s for s in run.decodings[1].scores if run.groups.of(s) == "low-resource" and s.normaliser == "whisper"]
    assert len(scores) == 4
    half = np.sqrt(sum(((score.high - score.low) / 2) ** 2 for score in scores)) / 4
    found = systems.estimates(run.decodings, "low-resource", run.groups, run.languages)["vanilla"]
    assert found.value == pytest.approx(np.mean([score.rate for score in scores]))
    assert found.high - found.value == pytest.approx(half, rel=1e-4)


def test_a_single_system_gives_no_comparison(tmp_path):
    one = {"soft": Estimate(10.0, 8.0, 12.0, 1)}
    assert not systems.draw_systems(tmp_path / "a.png", {"low-resource": one})
    both = one | {"vanilla": Estimate(20.0, 12.0, 28.0, 3)}
    assert systems.draw_systems(tmp_path / "a.png", {"low-resource": both, "high-resource": one})
    assert (tmp_path / "a.png").is_file()


def test_without_data_no_figure_is_written(run_dir, tmp_path):
    path = tmp_path / "figure.png"
    vanilla = find_trainings(run_dir / "exp")[1]
    assert not draw_loss(path, [])
    assert not draw_router(path, vanilla)
    assert not draw_bars(path, {"source domain": (["en"], {"vanilla": {}})})
    assert not path.exists()


def test_change_is_relative_to_vanillas_mean_and_improvements_are_positive():
    rates = {"vanilla": [40.0, 60.0], "soft": [25.0, 50.0], "hard": [75.0]}
    assert relative_changes(rates) == {"soft": [50.0, 0.0], "hard": [-50.0]}


def test_change_and_radar_need_comparable_systems(tmp_path):
    assert not draw_changes(tmp_path / "a.png", {"1 h": {"vanilla": [40.0]}, "30 h": {"soft": [25.0]}})
    one = {"soft": {"de": 1.0, "it": 2.0, "ru": 3.0}}
    assert not draw_radar(tmp_path / "a.png", ["de", "it", "ru"], one, "chunked")
    assert not draw_radar(tmp_path / "a.png", ["de", "it", "ru"], {**one, "hard": {"de": 1.0}}, "chunked")
    assert draw_radar(tmp_path / "a.png", ["de", "it", "ru"], {**one, "hard": dict(one["soft"], ru=150.0)}, "chunked")
    assert is_a_picture(tmp_path / "a.png")


def test_an_outlier_language_does_not_flatten_the_others(tmp_path):
    assert draw_bars(tmp_path / "a.png", {"x": (["de", "it"], {"soft": {"de": 10.0, "it": 950.0}})})
    assert is_a_picture(tmp_path / "a.png")


def test_cosines_may_have_a_label_column(tmp_path):
    (tmp_path / "a.tsv").write_text("lang\tde\tes\nde\t1\t0.4\nes\t0.4\t1\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("de\tes\n1\t0.4\n0.4\t1\n", encoding="utf-8")
    for name in ("a.tsv", "b.tsv"):
        codes, cosines = read_cosines(tmp_path / name)
        assert codes == ["de", "es"]
        np.testing.assert_array_equal(cosines, [[1, 0.4], [0.4, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("de\tes\n1\t0.4\n", r"a.tsv: got 1 rows for 2 languages, wanted a square; rerun stage 4"),
        ("de\tes\n1\tx\n0.4\t1\n", r"a.tsv: could not convert string to float: 'x'; rerun stage 4"),
    ],
)
def test_damaged_cosines(tmp_path, text, message):
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_cosines(tmp_path / "a.tsv")


def test_equal_cosines_can_be_drawn(tmp_path):
    draw_cosines(tmp_path / "a.png", ["de", "es"], np.ones((2, 2)), "all alike")
    assert (tmp_path / "a.png").is_file()
