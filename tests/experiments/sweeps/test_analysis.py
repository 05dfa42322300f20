import numpy as np
import pytest

from jax_agents.experiments import Analysis, Trial
from jax_agents.experiments.sweeps.analysis import on_common_steps
from jax_agents.experiments.trained.run_folder import RunFolderError


def trial(label, seed, rate, returns):
    results = [
        {
            "training_iteration": i + 1,
            "num_env_steps_sampled_lifetime": 100 * (i + 1),
            "episode_return_mean": value,
        }
        for i, value in enumerate(returns)
    ]
    config = {"learning_rate": rate, "gamma": 0.99, "hidden": [8]}
    return Trial(
        f"learning_rate={rate}_seed_{seed}", "PPO", "CartPole-v1", seed, "device", config, results
    )


TRIALS = [
    trial("a", 0, 0.1, [None, 10.0, 90.0]),
    trial("a", 1, 0.1, [None, 10.0, 10.0]),
    trial("b", 0, 0.2, [None, 99.0, 60.0]),
    trial("b", 1, 0.2, [None, 20.0, None]),
    trial("c", 0, 0.2, [None, None, float("nan")]),
]


def test_the_best_ended_best_and_a_configuration_is_judged_by_all_its_seeds():
    analysis = Analysis([*TRIALS[:3], trial("b", 1, 0.2, [None, 55.0, None])])
    assert analysis.best_trial() is TRIALS[0]  # 90, where another had been at 99
    assert analysis.best_trial(mode="min") is TRIALS[1]
    assert analysis.best_config()["learning_rate"] == 0.2  # (60 + 55) / 2 > (90 + 10) / 2
    # (60 + 20) / 2: a trial without numbers does not count
    assert Analysis(TRIALS).best_config()["learning_rate"] == 0.1
    with pytest.raises(
        ValueError, match="no trial has numbers of 'los'; results have training_iteration, num_env"
    ):
        analysis.best_trial("los")
    with pytest.raises(ValueError, match="mode: expected 'max' or 'min', got 'most'"):
        analysis.best_trial(mode="most")
    with pytest.raises(ValueError, match="at least one trial"):
        Analysis([])


def test_rows_and_the_table():
    analysis = Analysis(TRIALS)
    assert analysis.varied() == ["learning_rate"]
    row = {
        "trial": "learning_rate=0.2_seed_1",
        "seed": 1,
        "learning_rate": 0.2,
        "episode_return_mean": 20.0,
    }
    assert analysis.rows(["episode_return_mean"])[3] == row
    lines = str(analysis).splitlines()
    assert lines[0].split() == [
        "trial",
        "num_env_steps_sampled_lifetime",
        "episode_return_mean",
        "loss",
        "time_total_s",
    ]
    assert lines[3].split() == ["learning_rate=0.2_seed_0", "300", "60", "-", "-"]
    assert lines[5].split()[2] == "-"
    assert lines[6] == "best: learning_rate=0.1_seed_0, episode_return_mean 90"


def test_a_curve_for_each_configuration(tmp_path):
    path = Analysis(TRIALS).plot(tmp_path / "curves.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [trial.variant for trial in TRIALS[1:3]] == ["learning_rate=0.1", "learning_rate=0.2"]
    with pytest.raises(ValueError, match="no trial has numbers of 'q'"):
        Analysis(TRIALS).plot(tmp_path / "q.png", "q")


def test_curves_meet_at_the_steps_that_all_have():
    steps, lines = on_common_steps(
        {"a": [[(0, 0.0), (10, 10.0)], [(5, 1.0), (20, 4.0)]]}, num_points=2
    )
    assert steps.tolist() == [5, 10]
    np.testing.assert_allclose(lines["a"], [[5, 10], [1, 2]])
    with pytest.raises(ValueError, match="one starts at 5 where another has ended, at 4"):
        on_common_steps({"a": [[(5, 0.0)]], "b": [[(1, 0.0), (4, 0.0)]]})


def test_folders_without_runs(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run in it"):
        Analysis.load(tmp_path)
