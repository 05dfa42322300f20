"""The data of TF-Agents' own tests: two examples of a few rows each, and the network that they are
worked out by hand for.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, Trajectory, Transition

SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))


class DummyNet(nn.Module):
    """Q(x, y) = [2x + y + 1, x + y + 1] before any training."""

    @nn.compact
    def __call__(self, observation):
        kernel = lambda *_: jnp.array([[2.0, 1.0], [1.0, 1.0]])
        return nn.Dense(2, kernel_init=kernel, bias_init=nn.initializers.ones)(observation)


@pytest.fixture
def frames():
    """Observations `[2, 3, 2]`."""
    return np.array([[[1, 2], [5, 6], [9, 10]], [[3, 4], [7, 8], [11, 12]]], np.float32)


@pytest.fixture
def make_rows():
    """Makes rows `[B, T]` of observations: actions 0 and 1, rewards 10 and 20, discounts 0.9."""

    def make_rows(observation, step_type=None, **changes):
        batch, length = observation.shape[:2]
        per_row = lambda values, dtype: np.repeat(
            np.resize(values, batch)[:, None], length, 1
        ).astype(dtype)
        step_type = (
            np.full((batch, length), StepType.MID)
            if step_type is None
            else np.asarray(step_type, np.int32)
        )
        rows = Trajectory(
            step_type=step_type,
            observation=observation,
            action=per_row([0, 1], np.int32),
            policy_info=(),
            next_step_type=np.concatenate([step_type[:, 1:], np.full((batch, 1), StepType.MID)], 1),
            reward=per_row([10, 20], np.float32),
            discount=per_row([0.9], np.float32),
        )
        return rows._replace(**changes)

    return make_rows


@pytest.fixture
def data(make_rows, frames):
    """The first two rows of each example: one transition."""
    return make_rows(frames[:, :2])


@pytest.fixture
def transitions(data):
    """The same as the two transitions that they are, `[2, ...]`."""
    now, then = (jax.tree.map(lambda x, t=t: jnp.asarray(x[:, t]), data) for t in (0, 1))
    return Transition(
        now.observation, now.action, now.reward, now.discount, then.observation, jnp.ones(2)
    )


@pytest.fixture
def make_dqn():
    """Makes a DQN agent over `DummyNet`, with a gamma of 1."""

    def make_dqn(specs=SPECS, network=None, **options):
        options = {"gamma": 1.0, "optimizer": optax.sgd(0.01)} | options
        return agents.DqnAgent(specs, DummyNet() if network is None else network, **options)

    return make_dqn


@pytest.fixture
def with_targets():
    """Gives a state of such an agent a target network of this kernel, without biases."""

    def with_targets(state, kernel):
        layer = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(2)}
        return state.replace(target_params={"q": {"params": {"Dense_0": layer}}})

    return with_targets
