import sys

import imageio.v2 as imageio
import numpy as np
import pytest

from jax_agents import evaluation

STEPS = np.arange(0, 50_001, 2_500)
RUNS = 500 / (1 + np.exp(-(STEPS / 10_000 - np.arange(1, 6)[:, None]))) + np.random.default_rng(
    0
).normal(0, 9, (5, STEPS.size))


def colours(path):
    """How many pixels of the picture are not grey, and its shape."""
    image = np.asarray(imageio.imread(path))[..., :3].astype(int)
    return int((np.ptp(image, axis=-1) > 25).sum()), image.shape


def test_a_band_is_drawn_for_several_runs_and_a_line_for_one(tmp_path):
    path = evaluation.plot_learning_curve(
        STEPS, RUNS, tmp_path / "new" / "curve.png", title="DQN on CartPole-v1"
    )
    assert path == tmp_path / "new" / "curve.png"
    band, shape = colours(path)
    assert shape == (600, 960, 3)
    line, _ = colours(evaluation.plot_learning_curve(STEPS, RUNS[0], tmp_path / "line.png"))
    assert 500 < line < band / 3


def test_several_curves_and_a_single_point(tmp_path):
    two = {"DQN": RUNS, "C51": RUNS[:1] - 50}
    one_curve = colours(evaluation.plot_learning_curve(STEPS, {"DQN": RUNS}, tmp_path / "one.png"))[
        0
    ]
    assert (
        colours(evaluation.plot_learning_curve(STEPS, two, tmp_path / "two.png"))[0]
        > one_curve + 500
    )
    assert colours(evaluation.plot_learning_curve([10], [5.0], tmp_path / "point.png"))[0] > 10
    assert (evaluation.plot_learning_curve(STEPS, RUNS, tmp_path / "curve.svg")).read_text().count(
        "<svg"
    ) == 1


def test_pyplot_and_its_backend_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would be an error
    assert evaluation.plot_learning_curve([0, 1], [0, 1], tmp_path / "a.png").exists()


def test_errors(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    with pytest.raises(
        ValueError, match=r"returns 'DQN': expected \[3\] or \[runs, 3\] for 3 steps, got \[2\]"
    ):
        evaluation.plot_learning_curve([0, 1, 2], {"DQN": [1, 2]}, path)
    with pytest.raises(ValueError, match=r"steps \[points\] and at least one curve, got \[0\]"):
        evaluation.plot_learning_curve([], [], path)
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        evaluation.plot_learning_curve([0, 1], [0, np.nan], path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match='pip install "matplotlib"'):
        evaluation.plot_learning_curve([0], [0], path)
    assert not path.exists()
