import warnings

import pytest

from jax_agents.experiments import BcConfig, DqnConfig, PpoConfig
from jax_agents.experiments.runners import Episodes
from jax_agents.experiments.training.reports import (
    RESULT_KEYS,
    check_stop,
    finite,
    make_report,
    metrics_to_report,
    newest,
    reached,
    warn_of_end,
)


def test_a_report_by_hand():
    counters = {
        "training_iteration": 3,
        "num_steps": 90,
        "num_updates": 7,
        "num_episodes": 4,
        "time_total": 2.5,
    }
    report = make_report(
        counters,
        [Episodes(10.0, 5.0, 1), Episodes(40.0, None, 2, 60.0, 20.0)],
        steps=30,
        seconds=0.5,
    )
    assert tuple(report) == RESULT_KEYS
    assert report["episode_return_mean"] == 30.0  # 10 once, 40 twice
    assert (
        report["episode_return_min"],
        report["episode_return_max"],
        report["episode_len_mean"],
    ) == (10.0, 60.0, 5.0)
    assert (report["steps_per_second"], report["time_total_s"]) == (60.0, 2.5)
    empty = make_report(counters, [], steps=30, seconds=0.5)
    assert empty["episode_return_mean"] is None and empty["episode_len_mean"] is None


def test_returns_and_losses_that_are_no_numbers():
    counters = {
        "training_iteration": 1,
        "num_steps": 9,
        "num_updates": 1,
        "num_episodes": 1,
        "time_total": 1.0,
    }
    report = make_report(
        counters,
        [Episodes(float("nan"), 3.0, 1), Episodes(float("inf"), 3.0, 1)],
        steps=9,
        seconds=1.0,
    )
    assert [report[f"episode_return_{kind}"] for kind in ("mean", "min", "max")] == [None] * 3
    with pytest.warns(
        RuntimeWarning, match="the loss is nan, so the weights are no longer finite numbers"
    ):
        assert metrics_to_report({"loss": float("nan"), "q": 2.0}) == {"loss": None, "q": 2.0}


def test_the_newest_episodes_are_at_least_twenty_if_there_are_so_many():
    episodes = [Episodes(float(i), None, 9) for i in range(5)]
    assert newest(episodes) == episodes[2:]
    assert newest(episodes[:1]) == episodes[:1]


def test_what_ends_a_run():
    assert not reached({"loss": 1.0}, None)
    assert not reached(
        {"loss": 1.0, "num_env_steps_sampled_lifetime": 5},
        {"loss": None, "num_env_steps_sampled_lifetime": 4},
    )
    assert reached(
        {"loss": 1.0, "num_env_steps_sampled_lifetime": 5},
        {"loss": 0.5, "num_env_steps_sampled_lifetime": 5},
    )
    assert finite(float("nan")) is None and finite(1.5) == 1.5


@pytest.mark.parametrize(
    "stop, message",
    [
        (
            {"episode_reward_mean": 1},
            r"no result 'episode_reward_mean'; did you mean 'episode_return_mean'",
        ),
        ({"loss": float("nan")}, r"stop loss: expected a number, got nan"),
        ({"loss": "low"}, r"stop loss: expected a number, got 'low'"),
        ({}, r"expected at least one of training_iteration"),
    ],
)
def test_stops_that_could_never_be_met(stop, message):
    with pytest.raises(ValueError, match=message):
        check_stop(stop)


def test_training_after_a_rate_has_fallen_to_0_is_said():
    ends = PpoConfig(num_steps=2_048), DqnConfig(learning_rate_end=0.0, learning_rate_steps=1_048)
    for config in ends:
        assert config.learns_until == 2_048
        with pytest.warns(UserWarning, match="for 8,192 steps, but .* falls to 0 at 2,048 steps"):
            warn_of_end(config, 8_192)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_end(PpoConfig(num_steps=2_048), 2_048)
        warn_of_end(DqnConfig(num_steps=2_048), 8_192)  # ends above 0
        warn_of_end(BcConfig(num_steps=2_048), 8_192)
