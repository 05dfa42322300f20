"""What settings may be, mostly as configurations check them, and messages about names."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.experiments import DqnConfig, SacConfig
from jax_agents.experiments.configs.checking import convert, nearest


@pytest.mark.parametrize(
    "values, message",
    [
        ({"gamma": 1.5}, "config gamma: expected a number from 0 to 1, got 1.5"),
        ({"tau": -0.1}, "config tau: expected a number from 0 to 1"),
        ({"learning_rate": 0.0}, "config learning_rate: expected a positive number, got 0.0"),
        ({"max_grad_norm": -1.0}, "config max_grad_norm: expected a positive number"),
        (
            {"learning_rate": float("inf")},
            "config learning_rate: expected a finite number, got inf",
        ),
        ({"importance_exponent": -0.5}, "config importance_exponent: expected 0 or more, got -0.5"),
        ({"hidden": (8, 0)}, r"config hidden: expected sizes of at least 1, got \[8, 0\]"),
        ({"batch_size": 0}, "config batch_size: expected at least 1, got 0"),
        (
            {"max_episode_steps": 0},
            "config max_episode_steps: expected at least 1, or -1 for no limit, got 0",
        ),
    ],
)
def test_numbers_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        SacConfig(**values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"learning_rate": "1e-3"}, "learning_rate: expected a number, got '1e-3'"),
        ({"hidden": 64}, "hidden: expected a list of whole numbers, got 64"),
        ({"hidden": [64, 0.5]}, "hidden: expected a whole number, got 0.5"),
        ({"batch_size": 12.5}, "batch_size: expected a whole number, got 12.5"),
        ({"batch_size": None}, "batch_size: expected a whole number, got None"),
        ({"gamma": True}, "gamma: expected a number, got True"),
        ({"td_loss": "absolute"}, "td_loss: expected 'huber' or 'squared', got 'absolute'"),
    ],
)
def test_values_of_other_types(values, told):
    with pytest.raises(ValueError, match=f"^config {re.escape(told)}$"):
        DqnConfig(**values)


def test_values_become_what_their_fields_are():
    config = DqnConfig(num_steps=5e4, hidden=[8, 8], gamma=1, learning_rate=np.float64(0.5))
    assert (config.num_steps, config.hidden, config.gamma, config.learning_rate) == (
        50_000,
        (8, 8),
        1.0,
        0.5,
    )
    assert [type(x) for x in (config.num_steps, config.gamma, config.learning_rate)] == [
        int,
        float,
        float,
    ]
    hash(config)


def test_traced_values_and_arrays_are_let_through():
    gammas = jnp.array([0.5, 0.25])
    assert jax.vmap(lambda gamma: 2 * DqnConfig(gamma=gamma).gamma)(gammas).tolist() == [1.0, 0.5]


def test_nearest_is_blind_to_case_and_finds_parts():
    assert nearest("dqn", ["DQN", "PPO"]) == "did you mean 'DQN'?"
    assert (
        nearest("return", ["episode_return_mean", "loss"]) == "did you mean 'episode_return_mean'?"
    )
    assert nearest("zzz", ["a", "b"]) == "there are a, b"
    assert nearest("zzz", ["a"]) == "there is a"


@pytest.mark.parametrize("hint", [int | None, float | None, tuple[int, ...] | None])
def test_an_optional_setting_is_none_or_of_its_type(hint):
    assert convert("x", None, hint) is None
    with pytest.raises(ValueError, match=r"^config x: expected .*, got 'none'$"):
        convert("x", "none", hint)


def test_numbers_that_are_not_finite_or_not_whole_are_refused():
    assert convert("x", 3.0, int) == 3
    for value in (float("nan"), float("-inf")):
        with pytest.raises(ValueError, match=f"^config x: expected a finite number, got {value}$"):
            convert("x", value, float)
        with pytest.raises(ValueError, match=f"^config x: expected a whole number, got {value}$"):
            convert("x", value, int)
