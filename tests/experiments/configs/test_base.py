import dataclasses

import jax.numpy as jnp
import pytest

from jax_agents.experiments import A2cConfig, DqnConfig, PpoConfig, QrDqnConfig, SacConfig
from jax_agents.experiments.configs.evolution import EsConfig


def test_iterations_and_updates_follow_from_steps():
    off = DqnConfig(
        num_steps=1_000, warmup_steps=200, steps_per_iteration=8, updates_per_iteration=2
    )
    assert (off.num_iterations, off.updates(800)) == (100, 200)
    on = PpoConfig(
        num_steps=1_000,
        num_envs=4,
        num_rows=5,
        num_epochs=3,
        num_minibatches=2,
        iterations_per_report=7,
    )
    assert (
        on.steps_per_iteration,
        on.updates_per_iteration,
        on.num_iterations,
        on.steps_per_report,
    ) == (20, 6, 50, 140)
    es = EsConfig(num_steps=1_000, population_size=4, num_episodes=2, max_steps=25)
    assert (es.num_envs, es.num_iterations) == (8, 5)


def test_on_policy_schedules_end_with_the_run():
    config = PpoConfig(num_steps=1_000, num_envs=4, num_rows=5, num_epochs=3, num_minibatches=2)
    rate = config.schedule(1.0, 0.0)
    assert [float(rate(step)) for step in (0, 150, 300)] == [1.0, 0.5, 0.0]
    assert float(dataclasses.replace(config, learning_rate_steps=500).schedule(1.0, 0.0)(75)) == 0.5
    assert config.schedule(0.2, None) == 0.2


def test_gradients_are_clipped_to_a_global_norm_if_there_is_one():
    params, gradient = {"x": jnp.zeros(2)}, {"x": jnp.array([30.0, 40.0])}
    for config, factor in (
        (PpoConfig(max_grad_norm=0.5), 0.01),
        (PpoConfig(max_grad_norm=None), 1.0),
    ):
        optimizer = config.optimizer()
        _, state = optimizer.update(gradient, optimizer.init(params), params)
        moments = state[-1][0] if config.max_grad_norm else state[0]
        assert moments.mu["x"] == pytest.approx(0.1 * factor * gradient["x"])


def test_more_environments_keep_updates_in_proportion_to_steps():
    def shape(config):
        return config.num_envs, config.steps_per_iteration, config.updates_per_iteration

    assert shape(SacConfig().vectorized()) == (8, 8, 8)
    assert shape(DqnConfig().vectorized()) == (8, 8, 2)
    assert shape(QrDqnConfig().vectorized()) == (8, 256, 256)
    assert shape(A2cConfig(num_envs=1).vectorized()) == (8, 40, 1)
    several = A2cConfig(num_envs=3)
    assert several.vectorized() is several


def test_what_may_be_zero_or_without_limit():
    assert SacConfig(max_episode_steps=-1).max_episode_steps == -1
    assert PpoConfig(policy_lag=0, entropy_coefficient=0.0).policy_lag == 0
    with pytest.raises(ValueError, match="expected a divisor of num_envs x num_rows = 1024, got 7"):
        PpoConfig(num_envs=8, num_rows=128, num_minibatches=7)
    with pytest.raises(ValueError, match="config policy_lag: expected at least 0"):
        PpoConfig(policy_lag=-1)
