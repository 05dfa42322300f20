"""A Python loop over images trains as the same calls without any compiler option do.

JAX 0.6's old runtime for the CPU miscompiles convolutions in a loop: gradients were NaN or random.
"""

import gymnasium as gym
import jax
import numpy as np
import optax
import pytest
from gymnasium import spaces

from jax_agents import agents, envs, learners, networks, replay

SHAPE = (36, 36, 3)


class Pixels(gym.Env):
    """Random images and episodes of five steps."""

    observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.image(), {}

    def step(self, action):
        self.t += 1
        return self.image(), 1.0, self.t == 5, False, {}

    def image(self):
        return self.np_random.integers(0, 256, SHAPE, dtype=np.uint8)


def ppo(env):
    encoder = networks.ConvEncoder()
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(env.specs.action, (16,), encoder),
        networks.ValueNetwork((16,), encoder),
    )
    agent = agents.PpoAgent(env.specs, network, optax.adam(1e-3))
    return learners.OnPolicyLoop(
        agent, env, num_rows=8, num_epochs=2, num_minibatches=2, key=jax.random.key(0), seed=0
    )


def dqn(env):
    network = networks.QNetwork(2, (16,), encoder=networks.ConvEncoder())
    agent = agents.DqnAgent(env.specs, network, optax.adam(1e-3))
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=100, sequence_length=2)
    loop = learners.OffPolicyLoop(
        agent, env, buffer, batch_size=8, updates_per_iteration=2, key=jax.random.key(0), seed=0
    )
    loop.warm_up(16)
    return loop


def trained(make, without=None):
    """Parameters and metrics after three iterations; `without` patches the options away."""
    if without is not None:
        name = "on_policy_loop" if make is ppo else "off_policy_loop"
        without.setattr(f"jax_agents.learners.{name}.compiler_options", lambda *_, **__: {})
    loop = make(envs.gym.make(Pixels, num_envs=2))
    metrics = loop.run(3)
    return loop.state.params, metrics


@pytest.mark.parametrize("make", [ppo, pytest.param(dqn, marks=pytest.mark.nightly)])
def test_images_are_learned_from_as_without_options(make, monkeypatch):
    params, metrics = trained(make)
    assert np.isfinite(list(metrics.values())).all()
    plain, plain_metrics = trained(make, monkeypatch)
    close = lambda x, y: np.testing.assert_allclose(x, y, 1e-3, 1e-5)
    jax.tree.map(close, (params, metrics), (plain, plain_metrics))
