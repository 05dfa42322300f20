import dataclasses

import jax
import pytest

from jax_agents import agents, envs
from jax_agents.experiments import DqnConfig

ENV = envs.classic.CartPole()


def test_the_agent_is_what_the_configuration_says():
    config = DqnConfig(
        hidden=(7, 5), gamma=0.9, n_step=3, double=True, td_loss="squared", target_update_period=4
    )
    agent = config.agent(ENV.specs)
    assert (agent.gamma, agent.n_step, agent.double, agent.train_sequence_length) == (
        0.9,
        3,
        True,
        4,
    )
    assert agent.td_loss is agents.losses.squared
    shapes = [leaf.shape for leaf in jax.tree.leaves(agent.init(jax.random.key(0)).params)]
    assert sorted(shapes) == sorted([(4, 7), (7,), (7, 5), (5,), (5, 2), (2,)])


@pytest.mark.parametrize("steps, updates, at_half", [(1, 1, 500), (4, 1, 125), (4, 2, 250)])
def test_epsilon_falls_with_environment_steps_whatever_the_ratio(steps, updates, at_half):
    config = DqnConfig(
        epsilon_decay_steps=1000,
        steps_per_iteration=steps,
        updates_per_iteration=updates,
        epsilon_end=0.1,
    )
    epsilon = config.agent(ENV.specs).epsilon
    assert float(epsilon(0)) == pytest.approx(1.0)
    assert float(epsilon(at_half)) == pytest.approx(0.55)
    assert float(epsilon(2 * at_half)) == pytest.approx(0.1)


def test_the_learning_rate_falls_over_the_run_if_it_has_an_end():
    config = DqnConfig(
        learning_rate=1e-2,
        learning_rate_end=0.0,
        num_steps=1000,
        steps_per_iteration=5,
        warmup_steps=200,
    )
    rate = config.learning_rate_schedule()
    assert float(rate(0)) == pytest.approx(1e-2)
    assert float(rate(80)) == pytest.approx(5e-3)  # 800 steps remain after the warm-up: 160 updates
    assert float(rate(1000)) == 0.0
    sooner = dataclasses.replace(config, learning_rate_steps=400).learning_rate_schedule()
    assert float(sooner(40)) == pytest.approx(5e-3)
    assert dataclasses.replace(config, learning_rate_end=None).learning_rate_schedule() == 1e-2


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="expected one discrete action"):
        DqnConfig().agent(envs.classic.Pendulum().specs)
